//! Passphrases of owners, with the real cryptsetup on a volume in a file.

use std::{
    fs, io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use fleet_core::{kernel::Error, protocol::RunResult, work::secrets::SecretText};
use serde_json::{Value, json};

use super::{
    CHANGED, SAME, absent, device_keys,
    disks::{Disk, INITIAL, PATH},
    escrow::{Asked, Failure},
};
use crate::actions::{Beginning, Choice, Witness};

const TOKEN: &str = "5e7c1f0a";
const WORDS: &str = "four quick brown foxes";
const KEPT: &[&str] = &["current initial"];

fn params(device_key: &str) -> Value {
    json!({"volume": PATH, "initial_key": INITIAL, "interval_days": 30, "device_key": device_key})
}

/// A volume for which a passphrase may be chosen, with a token that waits.
async fn disk() -> Disk {
    let disk = Disk::new();
    disk.device.server.allow(TOKEN);
    assert_eq!(disk.run(&params("passphrase")).await.verdict(), CHANGED);
    disk
}

async fn begin(disk: &Disk, token: &str) -> Result<Beginning, Error> {
    let actions = disk.device.actions();
    actions.choose_passphrase(token.to_owned().into(), None).await
}

async fn choice(disk: &Disk, token: &str) -> Box<Choice> {
    match begin(disk, token).await {
        Ok(Beginning::Choose(choice)) => choice,
        other => panic!("{other:?}"),
    }
}

/// The whole of it, as the command does it: how it ended.
async fn choose(disk: &Disk, token: &str, words: &str) -> String {
    let done = match begin(disk, token).await {
        Ok(Beginning::Told(_)) => return "told".into(),
        Ok(Beginning::Choose(choice)) => choice.set(&SecretText::from(words.to_owned())).await.map(drop),
        Err(error) => Err(error),
    };
    done.map_or_else(|error| error.code().name().to_owned(), |()| "set".into())
}

/// What opens the volume from slot 7.
fn is_in_slot(disk: &Disk, words: &str) -> bool {
    disk.cryptsetup(&["open", "--test-passphrase", "--key-slot", "7"], words)
        .0
}

/// Somebody at the device puts a key of their own into slot 7.
fn by_hand(disk: &Disk) {
    let quick = ["--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000"];
    let add = [&["luksAddKey", "--key-slot", "7"][..], &quick].concat();
    let lines = format!("{}\nby hand\n", disk.current().reveal());
    assert!(disk.cryptsetup(&add, &lines).0);
}

/// Somebody is at the volumes.
fn lock(disk: &Disk) -> fs::File {
    let lock = disk.device.beside("state").join("actions/disk.passphrases.lock");
    let file = fs::File::options().write(true).open(lock).unwrap();
    file.lock().unwrap();
    file
}

#[tokio::test]
async fn an_owner_chooses_a_passphrase_beside_the_servers_and_it_is_taken_away_again() {
    let disk = Disk::new();
    disk.device.server.allow(TOKEN);
    disk.check(params("passphrase"), CHANGED, KEPT, 1).await;
    let waiting = disk.run(&params("passphrase")).await;
    assert_eq!((waiting.verdict(), disk.device.server.told().len()), (SAME.into(), 0));
    assert!(waiting.ending.message.unwrap().contains("no owner has chosen"));

    assert_eq!(choose(&disk, TOKEN, WORDS).await, "set");
    assert!(is_in_slot(&disk, WORDS) && disk.opens(disk.current().reveal()));
    assert_eq!(
        (disk.device.server.used(), disk.device.server.told()),
        (1, vec!["passphrase".to_owned()])
    );
    disk.check(params("passphrase"), SAME, KEPT, 2).await;
    let chosen = disk.run(&params("passphrase")).await;
    assert!(
        chosen
            .output
            .contains("opens by a passphrase that an owner chose, since"),
        "{}",
        chosen.output
    );

    disk.check(params("none"), CHANGED, KEPT, 1).await;
    assert!(!disk.opens(WORDS) && disk.opens(disk.current().reveal()));
    assert_eq!(disk.device.server.told(), ["passphrase", "none"]);
    disk.check(params("none"), SAME, KEPT, 1).await;
    disk.device.server.allow("another");
    assert_eq!(choose(&disk, "another", WORDS).await, "disk.passphrase_not_wanted");
}

#[tokio::test]
async fn the_tpm_takes_the_place_of_a_passphrase_and_a_passphrase_that_of_the_tpm() {
    let disk = device_keys::disk();
    disk.device.server.allow(TOKEN);
    disk.check(params("passphrase"), CHANGED, KEPT, 1).await;
    assert_eq!(choose(&disk, TOKEN, WORDS).await, "set");
    disk.check(params("tpm2"), CHANGED, KEPT, 2).await;
    assert!(!disk.opens(WORDS) && device_keys::tokens(&disk) == 1);
    assert_eq!(disk.device.server.told(), ["passphrase", "tpm2"]);
    disk.check(params("passphrase"), CHANGED, KEPT, 1).await;
    assert_eq!(device_keys::tokens(&disk), 0);
    disk.device.server.allow("another");
    // None of the last ones, whatever was there in between.
    assert_eq!(choose(&disk, "another", WORDS).await, "disk.passphrase_refused");
    assert_eq!(choose(&disk, "another", "five quick brown foxes").await, "set");
    assert_eq!(disk.device.server.told(), ["passphrase", "tpm2", "none", "passphrase"]);
    disk.check(params("passphrase"), SAME, KEPT, 2).await;
}

#[tokio::test]
async fn it_stays_when_the_servers_is_replaced_and_when_nobody_looks_after_the_volume_any_more() {
    let disk = disk().await;
    assert_eq!(choose(&disk, TOKEN, WORDS).await, "set");
    disk.device.clock.advance(Duration::from_secs(30 * 24 * 3_600));
    let kept = &["superseded initial", "current scheduled"];
    disk.check(params("passphrase"), CHANGED, kept, 2).await;
    assert!(is_in_slot(&disk, WORDS));
    disk.check(absent(&params("passphrase")), CHANGED, kept, 2).await;
    assert!(is_in_slot(&disk, WORDS));
    assert_eq!(choose(&disk, TOKEN, WORDS).await, "disk.passphrase_not_wanted");
    disk.check(params("none"), CHANGED, kept, 1).await;
}

#[tokio::test]
async fn another_one_takes_its_place_and_a_key_costs_what_cryptsetup_finds_right() {
    let disk = disk().await;
    disk.device.replace_by_link("cryptsetup");
    assert_eq!(choose(&disk, TOKEN, WORDS).await, "set");
    assert_eq!(disk.header()["keyslots"]["7"]["kdf"]["type"], "argon2id");
    disk.device.server.allow("another");
    assert_eq!(choose(&disk, "another", "five quick brown foxes").await, "set");
    assert!(is_in_slot(&disk, "five quick brown foxes") && !disk.opens(WORDS));
    assert_eq!((disk.slots(), disk.device.server.used()), (2, 2));
}

#[tokio::test]
async fn a_key_that_somebody_else_has_put_into_its_slot_is_left_alone() {
    let taken = "disk.passphrase_unavailable";
    let disk = Disk::new();
    disk.device.server.allow(TOKEN);
    disk.check(params("none"), CHANGED, KEPT, 1).await;
    by_hand(&disk);
    let refused = disk.run(&params("passphrase")).await;
    assert_eq!(refused.verdict(), format!("Failed {taken}, the same"));
    disk.check(params("none"), SAME, KEPT, 2).await;
    assert!(is_in_slot(&disk, "by hand"));

    // Where it comes after one may be chosen, or in the place of ours.
    let disk = self::disk().await;
    by_hand(&disk);
    assert_eq!(choose(&disk, TOKEN, WORDS).await, taken);
    assert_eq!(disk.device.server.used(), 0);
    assert!(is_in_slot(&disk, "by hand"));
    let disk = self::disk().await;
    assert_eq!(choose(&disk, TOKEN, WORDS).await, "set");
    assert!(disk.cryptsetup(&["luksRemoveKey"], WORDS).0);
    by_hand(&disk);
    disk.check(params("passphrase"), CHANGED, KEPT, 2).await;
    assert_eq!(disk.device.server.told(), ["passphrase", "none"]);
    disk.device.server.allow("another");
    assert_eq!(choose(&disk, "another", "five quick brown foxes").await, taken);
    disk.check(params("none"), CHANGED, KEPT, 2).await;
    assert!(is_in_slot(&disk, "by hand"));
}

#[tokio::test]
async fn a_passphrase_is_as_the_server_wants_it_and_none_of_the_last_five() {
    let disk = Disk::new();
    let mut strict = params("passphrase");
    strict["passphrase"] = json!({"min_length": 24, "complexity": "alphanumeric"});
    disk.check(strict.clone(), CHANGED, KEPT, 1).await;
    let words = |number: usize| format!("Four quick brown foxes {number}");
    for number in 0..7_usize {
        let token = format!("token {number}");
        disk.device.server.allow(&token);
        let mut wrong = vec![WORDS.to_owned(), "Four quick brown foxes!!".to_owned()];
        wrong.extend((number.saturating_sub(5)..number).map(words));
        for wrong in wrong {
            let refused = choose(&disk, &token, &wrong).await;
            assert_eq!(refused, "disk.passphrase_refused", "{number}: {wrong}");
        }
        assert_eq!(choose(&disk, &token, &words(number)).await, "set", "{number}");
    }
    disk.device.server.allow("last");
    // Six others came in between.
    assert_eq!(choose(&disk, "last", &words(0)).await, "set");
    // Other rules are told, and change no passphrase.
    disk.check(params("passphrase"), CHANGED, KEPT, 2).await;
    assert!(is_in_slot(&disk, &words(0)));
}

#[tokio::test]
async fn what_is_taken_back_while_somebody_types_is_not_done() {
    let disk = disk().await;
    let choice = choice(&disk, TOKEN).await;
    assert_eq!(disk.run(&params("none")).await.verdict(), CHANGED);
    let late = choice.set(&SecretText::from(WORDS.to_owned())).await.unwrap_err();
    assert_eq!(late.code().name(), "disk.passphrase_not_wanted");
    assert_eq!((disk.slots(), disk.device.server.used()), (1, 0));
}

#[tokio::test]
async fn a_token_that_is_none_or_was_used_sets_nothing() {
    let disk = disk().await;
    assert_eq!(choose(&disk, "another", WORDS).await, "disk.token_refused");
    let (one, other) = (choice(&disk, TOKEN).await, choice(&disk, TOKEN).await);
    one.set(&SecretText::from(WORDS.to_owned())).await.unwrap();
    let late = other.set(&SecretText::from("five quick brown foxes".to_owned())).await;
    assert_eq!(late.unwrap_err().code().name(), "disk.token_refused");
    assert!(is_in_slot(&disk, WORDS));
    assert_eq!(
        choose(&disk, TOKEN, "five quick brown foxes").await,
        "disk.token_refused"
    );
}

#[tokio::test]
async fn only_one_is_at_the_volume_at_a_time() {
    let disk = disk().await;
    let choice = choice(&disk, TOKEN).await;
    let lock = lock(&disk);
    let words = SecretText::from(WORDS.to_owned());
    assert_eq!(choice.set(&words).await.unwrap_err().code().name(), "disk.busy");
    let held = disk.run(&params("none")).await;
    assert_eq!(held.verdict(), "Failed disk.busy, the same");
    drop(lock);
    choice.set(&words).await.unwrap();
    disk.check(params("none"), CHANGED, KEPT, 1).await;
}

#[tokio::test]
async fn luks_1_has_none_and_the_server_keeps_the_passphrase_all_the_same() {
    let disk = Disk::new();
    let luks1 = ["luksFormat", "--type", "luks1", "--pbkdf-force-iterations", "1000"];
    assert!(disk.cryptsetup(&luks1, INITIAL).0);
    let done = disk.run(&params("passphrase")).await;
    assert_eq!(
        done.verdict(),
        "Failed disk.passphrase_unavailable, changed",
        "{}",
        done.output
    );
    assert!(disk.opens(disk.current().reveal()));
}

#[tokio::test]
async fn neither_passphrase_nor_token_is_an_argument_printed_or_kept() {
    let disk = disk().await;
    assert_eq!(choose(&disk, TOKEN, WORDS).await, "set");
    let revoked = disk.run(&params("none")).await;
    let notes = disk.device.beside("state").join("actions");
    let mut texts = vec![
        fs::read_to_string(disk.device.beside("faults").join("calls")).unwrap(),
        revoked.output,
    ];
    for entry in fs::read_dir(&notes).unwrap() {
        texts.push(fs::read_to_string(entry.unwrap().path()).unwrap());
    }
    assert!(texts.len() >= 4, "{texts:?}");
    for text in &texts {
        for secret in [WORDS, TOKEN, disk.current().reveal()] {
            assert!(!text.contains(secret), "{text}");
        }
    }
    assert!(
        texts[0].contains("--key-slot 7")
            && !texts[0].contains("--pbkdf pbkdf2 --pbkdf-force-iterations 1000 --key-slot")
    );
}

/// What stops it.
#[derive(Clone, Copy, Debug)]
enum Fault {
    /// The so manieth thing that is done to the device fails: a program is not started, a note not kept.
    Effect(usize),
    /// cryptsetup is killed after its work, at a call.
    Killed(usize),
    /// The server fails, after so many questions of that sort.
    Server(Asked, usize, Failure),
}

/// Lets what is done to a device fail at one of its moments.
#[derive(Debug)]
struct Fails {
    at: usize,
    seen: AtomicUsize,
}

impl Witness for Fails {
    fn before(&self, _what: &str) -> io::Result<()> {
        match self.seen.fetch_add(1, Ordering::SeqCst) + 1 == self.at {
            true => Err(io::Error::other("made to fail")),
            false => Ok(()),
        }
    }

    fn after(&self, _what: &str) {}
}

/// A fault that waits for its moment.
struct Waiting {
    fault: Fault,
    witness: Arc<Fails>,
}

impl Fault {
    fn begins(self, disk: &Disk) -> Waiting {
        let at = if let Self::Effect(at) = self { at } else { 0 };
        let seen = AtomicUsize::new(0);
        let witness = Arc::new(Fails { at, seen });
        disk.stop_at(None);
        match self {
            Self::Effect(_) => *disk.device.witness.lock().unwrap() = Some(witness.clone()),
            Self::Killed(at) => disk.stop_at(Some(("after", at))),
            Self::Server(asked, answers, failure) => disk.device.server.fail_after(answers, Some((asked, failure))),
        }
        Waiting { fault: self, witness }
    }
}

impl Waiting {
    /// Whether it has struck, and ends.
    fn ends(self, disk: &Disk) -> bool {
        let struck = match self.fault {
            Fault::Effect(at) => self.witness.seen.load(Ordering::SeqCst) >= at,
            Fault::Killed(at) => disk.calls() >= at,
            Fault::Server(..) => disk.device.server.has_failed(),
        };
        disk.stop_at(None);
        disk.device.server.fail(None);
        struck
    }
}

/// Every way in which something can be stopped on the device, for as long as there is so much of it.
async fn at_every_moment<F: Future<Output = bool>>(check: impl Fn(Fault) -> F) -> usize {
    let mut stopped = 0;
    for fault in [Fault::Effect, Fault::Killed] {
        for at in 1.. {
            if !check(fault(at)).await {
                break;
            }
            stopped += 1;
        }
    }
    stopped
}

/// Stops the choosing. The server's passphrase opens the volume at all times, the same command with the same token ends well, and what
/// was chosen can be taken away.
async fn check_choosing(fault: Fault, has_one: bool) -> bool {
    let disk = disk().await;
    if has_one {
        disk.device.server.allow("former");
        assert_eq!(choose(&disk, "former", "five quick brown foxes").await, "set");
    }
    let used = disk.device.server.used();
    let waiting = fault.begins(&disk);
    let first = choose(&disk, TOKEN, WORDS).await;
    let struck = waiting.ends(&disk);
    let context = format!("{fault:?}, {has_one}: {first}");
    assert!(disk.opens(disk.current().reveal()), "{context}");
    if struck {
        assert_ne!(first, "set", "{context}");
        let again = choose(&disk, TOKEN, WORDS).await;
        assert!(["set", "told"].contains(&&*again), "{context}: {again}");
    }
    assert!(
        is_in_slot(&disk, WORDS) && !disk.opens("five quick brown foxes"),
        "{context}"
    );
    assert!(disk.opens(disk.current().reveal()), "{context}");
    assert_eq!((disk.slots(), disk.device.server.used()), (2, used + 1), "{context}");
    let passed = disk.run(&params("passphrase")).await;
    assert_eq!(
        passed.ending.result,
        RunResult::Succeeded,
        "{context}: {}",
        passed.output
    );
    disk.check(params("none"), CHANGED, KEPT, 1).await;
    struck
}

#[tokio::test]
async fn wherever_choosing_stops_the_same_command_with_the_same_token_goes_on() {
    let stopped = at_every_moment(|fault| check_choosing(fault, false)).await;
    assert!(stopped >= 14, "{stopped} interruptions are not all");
}

#[tokio::test]
async fn the_same_where_one_was_chosen_before() {
    let stopped = at_every_moment(|fault| check_choosing(fault, true)).await;
    assert!(stopped >= 16, "{stopped} interruptions are not all");
}

#[tokio::test]
async fn the_same_where_the_server_goes_away() {
    for failure in [Failure::Away, Failure::AnswerLost] {
        for (asked, answers) in [
            (Asked::CheckToken, 0),
            (Asked::CheckToken, 1),
            (Asked::Current, 0),
            (Asked::UseToken, 0),
        ] {
            for has_one in [false, true] {
                assert!(check_choosing(Fault::Server(asked, answers, failure), has_one).await);
            }
        }
    }
}

/// Kills whoever chooses a passphrase between its being set and its being noted.
async fn half_set(disk: &Disk) {
    let choice = choice(disk, TOKEN).await;
    for at in 1.. {
        disk.stop_at(Some(("after", at)));
        let ended = choice.set(&SecretText::from(WORDS.to_owned())).await;
        if is_in_slot(disk, WORDS) {
            assert!(ended.is_err());
            break;
        }
    }
    disk.stop_at(None);
}

#[tokio::test]
async fn what_nobody_has_set_to_the_end_is_taken_away_at_the_next_pass() {
    let disk = disk().await;
    half_set(&disk).await;
    // While somebody may be at it, it stays.
    let lock = lock(&disk);
    disk.check(params("passphrase"), SAME, KEPT, 2).await;
    drop(lock);
    disk.check(params("passphrase"), CHANGED, KEPT, 1).await;
    assert_eq!(disk.device.server.used(), 0);
    // From here on the slot is anybody's.
    by_hand(&disk);
    disk.check(params("none"), CHANGED, KEPT, 2).await;
    assert!(is_in_slot(&disk, "by hand"));
}

/// Stops the taking away of a passphrase, or of what an interrupted choosing has left. It is made up for by the next run.
async fn check_revoked(fault: Fault, is_known: bool) -> bool {
    let disk = disk().await;
    if is_known {
        assert_eq!(choose(&disk, TOKEN, WORDS).await, "set");
    } else {
        half_set(&disk).await;
    }
    let waiting = fault.begins(&disk);
    let first = disk.run(&params("none")).await;
    let struck = waiting.ends(&disk);
    let context = format!("{fault:?}, {is_known}: {}\n{}", first.verdict(), first.output);
    assert!(disk.opens(disk.current().reveal()), "{context}");
    let again = disk.run(&params("none")).await;
    assert_eq!(again.ending.result, RunResult::Succeeded, "{context}\n{}", again.output);
    assert!(!disk.opens(WORDS) && disk.opens(disk.current().reveal()), "{context}");
    assert_eq!(disk.slots(), 1, "{context}");
    assert_eq!(disk.run(&params("none")).await.verdict(), SAME, "{context}");
    let told = disk.device.server.told();
    assert!(told.last().is_none_or(|last| last == "none"), "{context}: {told:?}");
    struck
}

#[tokio::test]
async fn wherever_taking_it_away_stops_nothing_of_it_is_left_in_the_end() {
    for is_known in [true, false] {
        let stopped = at_every_moment(|fault| check_revoked(fault, is_known)).await;
        assert!(stopped >= 10, "{stopped} interruptions are not all");
        for failure in [Failure::Away, Failure::AnswerLost] {
            assert!(check_revoked(Fault::Server(Asked::Current, 0, failure), is_known).await);
        }
    }
    for failure in [Failure::Away, Failure::AnswerLost] {
        assert!(check_revoked(Fault::Server(Asked::Tell, 0, failure), true).await);
    }
}

#[tokio::test]
async fn a_server_that_was_not_told_hears_it_from_the_agent() {
    let disk = disk().await;
    disk.device.server.fail(Some((Asked::UseToken, Failure::Away)));
    assert_eq!(choose(&disk, TOKEN, WORDS).await, "disk.passphrase_untold");
    disk.device.server.fail(None);
    disk.check(params("passphrase"), CHANGED, KEPT, 2).await;
    assert_eq!(disk.device.server.told(), ["passphrase"]);
}
