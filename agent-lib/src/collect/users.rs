//! Local user accounts, from passwd(5), group(5), shadow(5) and login.defs(5).

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use fleet_core::devices::inventory::{LocalUser, LockState, Section, SectionBody, Users, clean_text};

use super::{CollectContext, CollectError, Collector, files};

const MAX_BYTES: u64 = 16 << 20;
const MAX_GROUPS: usize = 256;
const MAX_NAME_BYTES: usize = 256;

#[derive(Debug)]
pub(super) struct UsersCollector;

#[async_trait]
impl Collector for UsersCollector {
    fn section(&self) -> Section {
        Section::Users
    }

    async fn collect(&self, context: &CollectContext) -> Result<SectionBody, CollectError> {
        let mut parser = Parser::default();
        // Each is optional but the first: without shadow the lock state is unknown, without groups there are fewer.
        for (path, read) in [
            ("/etc/login.defs", Parser::login_defs as fn(&mut Parser, &str)),
            ("/etc/group", Parser::group),
            ("/etc/shadow", Parser::shadow),
        ] {
            if let Err(error) = files::for_each_line(&context.path(path), MAX_BYTES, |line| read(&mut parser, line)) {
                tracing::debug!(%error, "reading accounts without it");
            }
        }
        files::for_each_line(&context.path("/etc/passwd"), MAX_BYTES, |line| parser.passwd(line))?;
        Ok(SectionBody::Users(parser.finish()))
    }
}

/// The names of users by their numeric id, for other collectors; empty when the file cannot be read.
pub(super) fn names(context: &CollectContext) -> BTreeMap<u32, String> {
    let mut names = BTreeMap::new();
    let _ = files::for_each_line(&context.path("/etc/passwd"), MAX_BYTES, |line| {
        let mut fields = line.split(':');
        if let (Some(name), _, Some(Ok(uid))) = (fields.next(), fields.next(), fields.next().map(str::parse))
            && names.len() < Section::Users.max_items()
        {
            names.entry(uid).or_insert_with(|| clean_text(name, MAX_NAME_BYTES));
        }
    });
    names
}

#[derive(Debug)]
struct Parser {
    /// The numeric ids that the device gives to people.
    people: (u32, u32),
    group_names: BTreeMap<u32, String>,
    groups_of: BTreeMap<String, BTreeSet<String>>,
    locked: BTreeMap<String, LockState>,
    users: Users,
}

impl Default for Parser {
    fn default() -> Self {
        Self {
            // What login.defs(5) says where nothing is configured.
            people: (1_000, 60_000),
            group_names: BTreeMap::new(),
            groups_of: BTreeMap::new(),
            locked: BTreeMap::new(),
            users: Users::default(),
        }
    }
}

impl Parser {
    fn login_defs(&mut self, line: &str) {
        let mut words = line.split_ascii_whitespace();
        match (words.next(), words.next().and_then(|word| word.parse().ok())) {
            (Some("UID_MIN"), Some(uid)) => self.people.0 = uid,
            (Some("UID_MAX"), Some(uid)) => self.people.1 = uid,
            _ => {}
        }
    }

    fn group(&mut self, line: &str) {
        let mut fields = line.split(':');
        let (Some(name), _, Some(Ok(gid)), Some(members)) = (
            fields.next(),
            fields.next(),
            fields.next().map(str::parse),
            fields.next(),
        ) else {
            return;
        };
        let name = clean_text(name, MAX_NAME_BYTES);
        for member in members.split(',').filter(|member| !member.is_empty()) {
            let groups = self.groups_of.entry(clean_text(member, MAX_NAME_BYTES)).or_default();
            if groups.len() < MAX_GROUPS {
                groups.insert(name.clone());
            }
        }
        self.group_names.entry(gid).or_insert(name);
    }

    /// Takes the lock state from the hash; the hash itself goes no further than this function.
    fn shadow(&mut self, line: &str) {
        let mut fields = line.split(':');
        if let (Some(name), Some(hash)) = (fields.next(), fields.next()) {
            self.locked.insert(clean_text(name, MAX_NAME_BYTES), lock_state(hash));
        }
    }

    fn passwd(&mut self, line: &str) {
        let fields: Vec<_> = line.splitn(8, ':').collect();
        let &[name, hash, uid, gid, _comment, home, shell] = &*fields else {
            return;
        };
        let (Ok(uid), Ok(gid)) = (uid.parse(), gid.parse()) else {
            return;
        };
        if self.users.items.len() >= Section::Users.max_items() {
            self.users.truncated = true;
            self.users.left_out += 1;
            return;
        }
        let name = clean_text(name, MAX_NAME_BYTES);
        let mut groups = self.groups_of.remove(&name).unwrap_or_default();
        groups.extend(self.group_names.get(&gid).cloned());
        let locked = match hash {
            // The hash is in shadow(5).
            "x" => self.locked.get(&name).copied().unwrap_or_default(),
            hash => lock_state(hash),
        };
        self.users.items.push(LocalUser {
            home: clean_text(home, 1024),
            shell: clean_text(shell, 1024),
            system: !(self.people.0..=self.people.1).contains(&uid),
            locked,
            groups: groups.into_iter().collect(),
            name,
            uid,
            gid,
        });
    }

    fn finish(mut self) -> Users {
        self.users.items.sort_by(|a, b| (a.uid, &a.name).cmp(&(b.uid, &b.name)));
        self.users
    }
}

/// crypt(5): a text that starts with `!` or `*` is no hash, so that no password matches it.
fn lock_state(hash: &str) -> LockState {
    if hash.starts_with(['!', '*']) {
        LockState::Locked
    } else {
        LockState::Unlocked
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(login_defs: &str, group: &str, shadow: &str, passwd: &str) -> Users {
        let mut parser = Parser::default();
        login_defs.lines().for_each(|line| parser.login_defs(line));
        group.lines().for_each(|line| parser.group(line));
        shadow.lines().for_each(|line| parser.shadow(line));
        passwd.lines().for_each(|line| parser.passwd(line));
        parser.finish()
    }

    #[test]
    fn accounts_are_put_together_from_their_files() {
        let users = parse(
            include_str!("../../tests/fixtures/accounts/login.defs"),
            include_str!("../../tests/fixtures/accounts/group"),
            include_str!("../../tests/fixtures/accounts/shadow.SYNTHETIC"),
            include_str!("../../tests/fixtures/accounts/passwd"),
        );
        insta::assert_json_snapshot!(users);
    }

    #[test]
    fn no_hash_leaves_the_device() {
        let users = parse(
            "",
            "",
            "ann:$y$secret:1:2\nbob:!$y$secret:1\neve::1\n",
            "ann:x:1000:1000::/h:/s\nbob:x:1001:1001::/h:/s\neve:x:1002:1002::/h:/s\nold:$1$secret:1003:1::/h:/s\nnew:x:1004:1::/h:/s\n",
        );
        assert!(!serde_json::to_string(&users).unwrap().contains("secret"));
        let states: Vec<_> = users.items.iter().map(|user| (&*user.name, user.locked)).collect();
        assert_eq!(
            states,
            [
                ("ann", LockState::Unlocked),
                ("bob", LockState::Locked),
                ("eve", LockState::Unlocked),
                ("old", LockState::Unlocked),
                ("new", LockState::Unknown),
            ]
        );
    }

    #[test]
    fn foreign_lines_are_passed_over() {
        let users = parse(
            "UID_MIN\nUID_MIN x",
            ":::\n::1:\ng:x:-1:a",
            ":\nx",
            "\na:b\na:x:-1:0:::\na:x:1:x:::\n+::::::\na:x:1:1:::/s:more",
        );
        assert_eq!(users.items, []);
    }
}
