//! Use cases of users.

use super::{
    CREATE, DELETE, LAST_ADMIN, NOT_FOUND, NewUser, Password, PasswordHash, SET, SET_PASSWORD, SET_PASSWORD_REFUSED,
    USERS_READ, USERS_WRITE, User, UserChange, UserFilter, UserId, UserView, check_password,
    rules::{check_display_name, check_name},
};
use crate::{
    access::{
        Access, Actor, Context, Role, keys,
        sessions::{self, Attempt, LoginThrottle, SessionId, ThrottleId},
    },
    kernel::{EntityId, Error, MAX_LIMIT, Page, PageRequest, Result},
    search,
    store::{Evidence, Query, Rev, STALE, Tx, Versioned},
};

/// Use cases of users.
#[derive(Clone, Copy, Debug)]
pub struct Users<'a> {
    access: &'a Access,
}

impl<'a> Users<'a> {
    pub(crate) fn new(access: &'a Access) -> Self {
        Self { access }
    }

    pub(super) fn access(&self) -> &'a Access {
        self.access
    }

    /// Creates a user. Nobody gives a role that may more than they themselves.
    pub async fn create(&self, context: &Context, new: NewUser) -> Result<UserView> {
        context.require(USERS_WRITE)?.require_all(USERS_WRITE)?;
        self.access.may_grant(context, new.role)?;
        let hashed = &Hashed::new(self.access, new).await?;
        self.access
            .store()
            .change(context, Evidence::Audit(CREATE), |mut tx| async move {
                let user = insert(&mut tx, hashed)?;
                tx.detail("role", user.role.name());
                tx.commit().await?;
                Ok(UserView::new(&user, 1))
            })
            .await
    }

    /// A page of users, by id.
    pub async fn list(&self, context: &Context, filter: &UserFilter, page: &PageRequest) -> Result<Page<UserView>> {
        context.require(USERS_READ)?.require_all(USERS_READ)?;
        let mut query = Query::<User>::all();
        if let Some(role) = filter.role {
            query = query.filter(User::ROLE.eq(role.name()));
        }
        if let Some(disabled) = filter.disabled {
            query = query.filter(User::DISABLED.eq(disabled));
        }
        if let Some(words) = &filter.search {
            query = query.filter(search::filter(User::TERMS.name(), words));
        }
        let users = self.access.store().reader().await?.list(&query, page).await?;
        Ok(users.map(Into::into))
    }

    /// One user. Everybody sees themselves.
    pub async fn show(&self, context: &Context, id: UserId) -> Result<UserView> {
        if context.user() != Some(id.uuid()) {
            context.require(USERS_READ)?.require_all(USERS_READ)?;
        }
        let user = self.access.store().get::<User>(id).await?;
        user.map(Into::into).ok_or_else(not_found)
    }

    /// Changes a user, at the revision `expected` if one is given. The last administrator stays one.
    pub async fn set(
        &self,
        context: &Context,
        id: UserId,
        change: UserChange,
        expected: Option<Rev>,
    ) -> Result<UserView> {
        context.require(USERS_WRITE)?.require_all(USERS_WRITE)?;
        let name = &change.name.as_deref().map(check_name).transpose()?;
        let display_name = &change.display_name.as_deref().map(check_display_name).transpose()?;
        if let Some(role) = change.role {
            self.access.may_grant(context, role)?;
        }
        let (role, disabled) = (change.role, change.disabled);
        self.access
            .store()
            .change(context, Evidence::Audit(SET), |mut tx| async move {
                let before = get(&mut tx, id, expected).await?;
                self.access.may_grant(context, before.role)?;
                let mut after = before.value.clone();
                if let Some(name) = name
                    && *name != before.name
                {
                    after.name.clone_from(name);
                    tx.changed("name");
                }
                if let Some(display_name) = display_name
                    && *display_name != before.display_name
                {
                    after.display_name.clone_from(display_name);
                    tx.changed("display_name");
                }
                if let Some(role) = role
                    && role != before.role
                {
                    after.role = role;
                    tx.changed("role");
                    tx.detail("role", role.name());
                }
                if let Some(disabled) = disabled
                    && disabled != before.disabled
                {
                    after.disabled = disabled;
                    tx.changed("disabled");
                    tx.detail("disabled", disabled);
                    if disabled {
                        // Whoever is enabled again signs in again.
                        after.session_version += 1;
                    } else {
                        tx.remove::<LoginThrottle>(ThrottleId::of_user(id));
                    }
                }
                if administers(&before) && !administers(&after) {
                    require_other_admin(&mut tx, id).await?;
                }
                let changed = tx.update(&before, &after)?;
                tx.subject::<User>(id, after.name.clone());
                tx.commit().await?;
                Ok(UserView::new(&after, before.rev + u64::from(changed)))
            })
            .await
    }

    /// Sets a password. One's own needs the present one and keeps the session that does it; that of others needs
    /// `users:write`. All other sessions of the user are over, and so is a lockout.
    pub async fn set_password(
        &self,
        context: &Context,
        id: UserId,
        current: Option<&Password>,
        new: &Password,
    ) -> Result<()> {
        let own = matches!(context.actor(), Actor::User { id: actor, .. } if *actor == id.uuid());
        if !own {
            context.require(USERS_WRITE)?.require_all(USERS_WRITE)?;
        }
        let user = self.access.store().get::<User>(id).await?.ok_or_else(not_found)?;
        if !own {
            self.access.may_grant(context, user.role)?;
        }
        check_password(new, &user.name)?;
        if own {
            let wrong = |why| Error::invalid_field("/current_password", why);
            let current = current.ok_or_else(|| wrong("the present password is needed"))?;
            let attempt = Attempt {
                context,
                action: SET_PASSWORD_REFUSED,
                user: Some(&user.value),
                name: &user.name,
            };
            sessions::verify(self.access, &attempt, current)
                .await
                .map_err(|error| match error.code() {
                    sessions::CREDENTIALS_INVALID => wrong("this is not the present password"),
                    _ => error,
                })?;
            if current.as_str() == new.as_str() {
                return Err(Error::invalid_field("/password", "this is the present password"));
            }
        }
        let hash = &self.access.hasher().hash(new, self.access.store().random()).await?;
        let verified = &user.value.password_hash;
        self.access
            .store()
            .change(context, Evidence::Audit(SET_PASSWORD), |mut tx| async move {
                let before = get(&mut tx, id, None).await?;
                self.replace_password(&mut tx, context, &before, hash).await?;
                if own {
                    if before.password_hash != *verified {
                        return Err(STALE.error("the password was changed at the same moment; try again"));
                    }
                    sessions::pass(&mut tx, ThrottleId::of_user(id)).await?;
                    keep_session(&mut tx, context, before.session_version + 1).await?;
                } else {
                    tx.remove::<LoginThrottle>(ThrottleId::of_user(id));
                }
                tx.commit().await?;
                Ok(())
            })
            .await
    }

    async fn replace_password(
        &self,
        tx: &mut Tx,
        context: &Context,
        before: &Versioned<User>,
        hash: &PasswordHash,
    ) -> Result<()> {
        if context.user() != Some(before.id.uuid()) {
            self.access.may_grant(context, before.role)?;
        }
        let mut after = before.value.clone();
        after.password_hash = Some(hash.clone());
        after.password_changed_at = Some(tx.now());
        after.session_version += 1;
        tx.update(before, &after)?;
        tx.changed("password");
        tx.subject::<User>(after.id, after.name);
        Ok(())
    }

    /// Deletes a user with sessions and keys, at the revision `expected` if one is given. The last administrator stays.
    pub async fn delete(&self, context: &Context, id: UserId, expected: Option<Rev>) -> Result<()> {
        context.require(USERS_WRITE)?.require_all(USERS_WRITE)?;
        self.access
            .store()
            .change(context, Evidence::Audit(DELETE), |mut tx| async move {
                let user = get(&mut tx, id, expected).await?;
                self.access.may_grant(context, user.role)?;
                if administers(&user) {
                    require_other_admin(&mut tx, id).await?;
                }
                tx.delete(&user);
                tx.remove::<LoginThrottle>(ThrottleId::of_user(id));
                let sessions = sessions::remove_all(&mut tx, id, None).await?;
                let keys = keys::remove_all(&mut tx, id).await?;
                tx.subject::<User>(id, user.name.clone());
                tx.detail("sessions", sessions);
                tx.detail("keys", keys);
                tx.commit().await?;
                Ok(())
            })
            .await
    }
}

/// A user to be created, checked and with its password hashed.
pub(crate) struct Hashed {
    name: String,
    display_name: String,
    role: Role,
    hash: Option<PasswordHash>,
    id: UserId,
}

impl Hashed {
    pub(crate) async fn new(access: &Access, new: NewUser) -> Result<Self> {
        let name = check_name(&new.name)?;
        let display_name = check_display_name(new.display_name.as_deref().unwrap_or(&new.name))?;
        let random = access.store().random();
        let hash = match &new.password {
            Some(password) => {
                check_password(password, &name)?;
                Some(access.hasher().hash(password, random).await?)
            }
            None => None,
        };
        Ok(Self {
            name,
            display_name,
            role: new.role,
            hash,
            id: UserId::new(access.store().clock().now(), random),
        })
    }
}

/// Writes a new user into a change.
pub(crate) fn insert(tx: &mut Tx, hashed: &Hashed) -> Result<User> {
    let user = User {
        id: hashed.id,
        name: hashed.name.clone(),
        display_name: hashed.display_name.clone(),
        role: hashed.role,
        disabled: false,
        password_hash: hashed.hash.clone(),
        created_at: tx.now(),
        password_changed_at: hashed.hash.is_some().then(|| tx.now()),
        session_version: 1,
    };
    tx.create(&user)?;
    tx.subject::<User>(user.id, user.name.clone());
    Ok(user)
}

fn not_found() -> Error {
    NOT_FOUND.error("there is no such user")
}

async fn get(tx: &mut Tx, id: UserId, expected: Option<Rev>) -> Result<Versioned<User>> {
    let user = tx.get::<User>(id).await?.ok_or_else(not_found)?;
    user.require_revision(expected)?;
    Ok(user)
}

/// Whether the user can administer the server, as things are.
fn administers(user: &User) -> bool {
    user.role == Role::Admin && !user.disabled && user.password_hash.is_some()
}

/// Fails unless somebody else administers the server, and goes on to until the commit: of two administrators who remove
/// each other at the same moment, one stays.
async fn require_other_admin(tx: &mut Tx, but: UserId) -> Result<()> {
    let query = Query::<User>::all()
        .filter(User::ROLE.eq(Role::Admin.name()))
        .filter(User::DISABLED.eq(false));
    let page = tx.list(&query, &PageRequest::new(Some(MAX_LIMIT), None)?).await?;
    match page.items.iter().find(|user| user.id != but && administers(user)) {
        Some(other) => {
            tx.require(other);
            Ok(())
        }
        None => Err(LAST_ADMIN.error("this is the last administrator who can sign in; make another one first")),
    }
}

/// Carries the session that sets its own user's password over to the new version.
async fn keep_session(tx: &mut Tx, context: &Context, version: u32) -> Result<()> {
    let Some(id) = context.session() else { return Ok(()) };
    if let Some(before) = tx.get::<sessions::Session>(SessionId::from_uuid(id)).await? {
        let mut after = before.value.clone();
        after.user_version = version;
        tx.update(&before, &after)?;
    }
    Ok(())
}
