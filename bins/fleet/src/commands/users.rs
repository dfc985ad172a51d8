//! Users.

use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Map, Value, json};

use super::{Context, Paging, secret};
use crate::{
    client::{Failure, Query, Result, USER, id_of},
    output::{Column, Show},
};

/// `fleet users`
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List users.
    List {
        #[command(flatten)]
        paging: Paging,
    },
    /// Show a user.
    Show {
        /// The user.
        user: String,
    },
    /// Create a user; the password is asked for.
    #[command(after_help = "Example:\n  fleet users create ada --role operator --display-name 'Ada Lovelace'")]
    Create(Create),
    /// Change a user.
    Set(Set),
    /// Set a user's password, which is asked for. It ends their sessions.
    Password {
        /// The user.
        user: String,
        #[command(flatten)]
        password: secret::PasswordSource,
    },
    /// Delete a user.
    Delete {
        /// The user.
        user: String,
    },
}

/// What a user or a key may do.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Role {
    Admin,
    Operator,
    Viewer,
}

impl Role {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Operator => "operator",
            Self::Viewer => "viewer",
        }
    }
}

/// `fleet users create`
#[derive(Debug, Args)]
pub struct Create {
    /// The name to sign in with.
    name: String,
    /// What the user may do: everything, see and run work, or only see.
    #[arg(long, value_enum)]
    role: Role,
    /// The name that people read.
    #[arg(long)]
    display_name: Option<String>,
    #[command(flatten)]
    password: secret::PasswordSource,
}

/// `fleet users set`
#[derive(Debug, Args)]
pub struct Set {
    /// The user.
    user: String,
    /// The new name to sign in with.
    #[arg(long)]
    name: Option<String>,
    /// The name that people read.
    #[arg(long)]
    display_name: Option<String>,
    /// What the user may do.
    #[arg(long, value_enum)]
    role: Option<Role>,
    /// Let the user not sign in any more.
    #[arg(long, conflicts_with = "enable")]
    disable: bool,
    /// Let the user sign in again.
    #[arg(long)]
    enable: bool,
}

const COLUMNS: &[Column] = &[
    Column::new("ID", "/id", Show::Id),
    Column::new("NAME", "/name", Show::Text),
    Column::new("DISPLAY NAME", "/display_name", Show::Text),
    Column::new("ROLE", "/role", Show::Text),
    Column::new("DISABLED", "/disabled", Show::Text),
    Column::new("CREATED", "/created_at", Show::Ago),
    Column::new("PASSWORD SET", "/password_changed_at", Show::Ago).wide(),
];

/// Does what was asked for.
pub async fn run(context: &mut Context, command: Command) -> Result<()> {
    match command {
        Command::List { paging } => {
            context
                .list(&["users"], Query::new(), paging, COLUMNS, "no users")
                .await
        }
        Command::Show { user } => {
            let id = id_of(&context.client, &USER, &user).await?;
            context.show(&["users", &id]).await
        }
        Command::Create(create) => {
            let password = create.password.read("New password", true).await?;
            let mut body = json!({"name": create.name, "role": create.role.name(), "password": password});
            if let Some(name) = create.display_name {
                body["display_name"] = json!(name);
            }
            let user = context.client.post(&["users"], &body, None).await?.body;
            context.output.done(&format!("created user {}", create.name), &user)
        }
        Command::Set(set) => set.run(context).await,
        Command::Password { user, password } => {
            let id = id_of(&context.client, &USER, &user).await?;
            let password = password.read("New password", true).await?;
            let body = json!({"password": password});
            context.client.put(&["users", &id, "password"], &body).await?;
            context.output.done_to(&format!("the password of {user} is set"), &id)
        }
        Command::Delete { user } => {
            let id = id_of(&context.client, &USER, &user).await?;
            context.client.delete(&["users", &id]).await?;
            context.output.done_to(&format!("deleted user {user}"), &id)
        }
    }
}

impl Set {
    async fn run(self, context: &mut Context) -> Result<()> {
        let mut change = Map::new();
        if let Some(name) = self.name {
            change.insert("name".into(), json!(name));
        }
        if let Some(name) = self.display_name {
            change.insert("display_name".into(), json!(name));
        }
        if let Some(role) = self.role {
            change.insert("role".into(), json!(role.name()));
        }
        if self.disable || self.enable {
            change.insert("disabled".into(), json!(self.disable));
        }
        if change.is_empty() {
            return Err(Failure::usage("say what to change, such as --role viewer"));
        }
        let id = id_of(&context.client, &USER, &self.user).await?;
        let words = format!("user {} is changed", self.user);
        context.change(&["users", &id], &Value::Object(change), &words).await
    }
}
