//! `fleet-server backup` and `restore`: without a server, with nothing else on the store.

mod files;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use fleet_bins_common::{
    logging::{complain, print},
    storage::{self, Purpose},
};
use fleet_core::{
    access,
    kernel::{Clock as _, MasterKey, SystemClock, SystemRandom, random_uuid},
    modules,
    storage::{
        Filling, Restored,
        archive::{ArchiveReader, KeyPart, unwrap_key},
        read_through, record_restore, restore as fill,
    },
    store::{Schema, Store},
};

pub(crate) use self::files::Folder;
use self::files::{Sink, Source, passphrase};
use crate::{
    config::{Config, Flags},
    files::{master_key, private_folder, write_private},
    serve,
};

/// Backs up the store.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Backup {
    #[command(subcommand)]
    pub(crate) command: Option<BackupCommand>,
    #[command(flatten)]
    pub(crate) flags: Flags,
    /// The file, or the folder for it [default: this folder]
    #[arg(long, value_name = "FILE|FOLDER", default_value = ".")]
    to: PathBuf,
    /// Leave the master key out: without its file, the backup opens no secrets
    #[arg(long)]
    without_key: bool,
    /// Leave blobs out, such as programs of agents: their place needs a backup of its own
    #[arg(long)]
    without_blobs: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum BackupCommand {
    /// Read a backup to its end and compare every check; nothing is restored.
    Verify {
        /// The file
        file: PathBuf,
    },
}

/// Fills an empty store from a backup.
#[derive(Debug, Args)]
pub(crate) struct Restore {
    #[command(flatten)]
    pub(crate) flags: Flags,
    /// The backup
    #[arg(long, value_name = "FILE")]
    from: PathBuf,
    /// Restore although the master key is neither in the backup nor here
    #[arg(long)]
    without_key: bool,
}

/// Makes a backup.
pub(crate) async fn backup(config: &Config, asked: &Backup) -> anyhow::Result<()> {
    let secret = match (config.backup_passphrase_file(), asked.without_key) {
        (_, true) => None,
        (Some(file), false) => Some(read_passphrase(file)?),
        (None, false) => bail!(
            "say --backup-passphrase-file FILE, so that the master key goes into the backup under a passphrase, or --without-key"
        ),
    };
    let (fleet, _) = serve::open(config, Purpose::Existing).await?;
    let made = async {
        let path = if asked.to.is_dir() {
            asked.to.join(fleet.storage().backup_file_name())
        } else {
            asked.to.clone()
        };
        let sink = Sink::create(&path)
            .await
            .with_context(|| format!("{} cannot be written", path.display()))?;
        let context = access::Context::system("backup");
        let without_key = secret.is_none();
        let archived = fleet
            .storage()
            .back_up_to(
                &context,
                &path.display().to_string(),
                Box::new(sink),
                secret,
                !asked.without_blobs,
                &|_| {},
            )
            .await
            .map_err(|error| anyhow::anyhow!(error.log()))?;
        print(&format!(
            "{}: {} records, {} blobs, {} bytes, digest {}",
            path.display(),
            archived.records,
            archived.blobs,
            archived.bytes,
            archived.digest
        ));
        if asked.without_blobs {
            complain(&format!(
                "blobs are not in it; {} needs a backup of its own",
                config.blobs()
            ));
        }
        if without_key {
            complain(&format!(
                "the master key is not in it; keep {} apart from it: without that file the backup opens no secrets",
                config.master_key_file().display()
            ));
        }
        anyhow::Ok(archived.blobs_damaged)
    }
    .await;
    let closed = fleet.close().await;
    let damaged = made?;
    closed.context("the store did not close cleanly")?;
    if damaged > 0 {
        bail!(
            "the backup is complete but for {damaged} blobs, which are damaged or missing in {}; the log says which",
            config.blobs()
        );
    }
    Ok(())
}

/// Reads a backup to its end.
pub(crate) async fn verify(file: &Path) -> anyhow::Result<()> {
    let found = read_through(open(file).await?, &schema()?)
        .await
        .with_context(|| file.display().to_string())?;
    print(&format!("{} is complete", file.display()));
    describe(&found);
    Ok(())
}

/// Fills an empty store.
pub(crate) async fn restore(config: &Config, asked: &Restore) -> anyhow::Result<()> {
    let reader = open(&asked.from).await?;
    let key = key_of_backup(config, &reader, asked.without_key)?;
    private_folder(config.data())?;
    let uri = config.storage();
    let store = storage::open(uri, Purpose::Fill, Arc::new(SystemClock))
        .await
        .with_context(|| format!("the store {uri} cannot be opened"))?;
    let schema = schema()?;
    let file = asked.from.display().to_string();
    let done = async {
        let blobs = config.blobs().open(true)?;
        store.backend.prepare(&schema).await?;
        let now = SystemClock.now();
        let filling = Filling {
            store: &*store.backend,
            schema: &schema,
            blobs: Some(&blobs),
            id: random_uuid(now, &SystemRandom),
            from: format!("the backup {file}"),
            at: now,
        };
        anyhow::Ok(fill(reader, filling).await?)
    }
    .await
    .with_context(|| format!("the store {uri} was not filled"));
    let accounted = match &done {
        Ok(restored) => account(&store.backend, &schema, &file, restored).await,
        Err(_) => Ok(()),
    };
    let closed = store.backend.close().await;
    let restored = done?;
    accounted?;
    closed.context("the store did not close cleanly")?;
    print(&format!("{uri} holds what {file} held"));
    describe(&restored);
    match restored.header.blobs {
        true => print(&format!("the blobs are in {}", config.blobs())),
        false => complain(&format!(
            "blobs are not in the backup: bring their folder back to {}",
            config.blobs()
        )),
    }
    match key {
        Key::Here => {}
        Key::Unwrapped(key) => {
            let path = config.master_key_file();
            if let Some(folder) = path.parent() {
                private_folder(folder)?;
            }
            write_private(path, format!("{}\n", *key.to_text()).as_bytes())
                .with_context(|| format!("the master key {} cannot be written", path.display()))?;
            print(&format!("the master key is in {}", path.display()));
        }
        Key::Missing => complain(&format!(
            "the server starts on it once the file of master key {} is at {}",
            restored.header.key.id(),
            config.master_key_file().display()
        )),
    }
    Ok(())
}

/// Where the key of a backup is found.
enum Key {
    Here,
    Unwrapped(MasterKey),
    Missing,
}

/// Everything that can be wrong with the key is found before the store is touched.
fn key_of_backup(config: &Config, reader: &ArchiveReader, without_key: bool) -> anyhow::Result<Key> {
    let path = config.master_key_file();
    let part = &reader.header().key;
    if path.exists() {
        let here = master_key(path, true)?;
        if here.id() != part.id() {
            bail!(
                "{} is master key {}, and the backup was made with {}; say --master-key-file with the place for that one",
                path.display(),
                here.id(),
                part.id()
            );
        }
        return Ok(Key::Here);
    }
    match (part, config.backup_passphrase_file()) {
        (KeyPart::Wrapped(wrapped), Some(file)) => {
            let key = unwrap_key(wrapped, &read_passphrase(file)?)?;
            Ok(Key::Unwrapped(key))
        }
        _ if without_key => Ok(Key::Missing),
        (KeyPart::Wrapped(_), None) => bail!(
            "the master key is in the backup under a passphrase: say --backup-passphrase-file FILE, or bring the key's file to {}",
            path.display()
        ),
        (KeyPart::LeftOut { id }, _) => bail!(
            "master key {id} is not in the backup: bring its file to {}, or say --without-key to restore all the same",
            path.display()
        ),
    }
}

async fn account(
    backend: &Arc<dyn fleet_core::store::Backend>,
    schema: &Schema,
    file: &str,
    restored: &Restored,
) -> anyhow::Result<()> {
    let opened = Store::open(backend.clone(), schema, Arc::new(SystemClock), Arc::new(SystemRandom)).await;
    let result = match opened {
        Ok((store, _)) => record_restore(&store, file, restored).await,
        Err(error) => Err(error),
    };
    result.map_err(|error| anyhow::anyhow!("the restore left no audit entry: {}", error.log()))
}

fn describe(found: &Restored) {
    let header = &found.header;
    print(&format!(
        "  made      {} by fleet {} from {}",
        header.made_at, header.version, header.backend
    ));
    print(&format!("  records   {}", found.records));
    print(&format!("  commits   up to {}", found.seq));
    print(&format!("  digest    {}", found.digest));
    let blobs = &found.blobs;
    print(&match header.blobs {
        true => format!("  blobs     {} of {} bytes", blobs.blobs, blobs.bytes),
        false => "  blobs     left out".to_owned(),
    });
    let key = if header.key.is_in() {
        "inside, under a passphrase"
    } else {
        "left out"
    };
    print(&format!("  key       {} ({key})", header.key.id()));
    if blobs.damaged > 0 {
        complain(&format!(
            "{} blobs were damaged or missing when the backup was made, and are not in it:",
            blobs.damaged
        ));
        blobs.named.iter().for_each(|digest| complain(&format!("  {digest}")));
    }
}

async fn open(file: &Path) -> anyhow::Result<ArchiveReader> {
    let source = Source::open(file)
        .await
        .with_context(|| format!("{} cannot be read", file.display()))?;
    ArchiveReader::open(Box::new(source))
        .await
        .with_context(|| file.display().to_string())
}

fn read_passphrase(file: &Path) -> anyhow::Result<secrecy::SecretString> {
    passphrase(file).with_context(|| format!("the passphrase {} cannot be read", file.display()))
}

fn schema() -> anyhow::Result<Schema> {
    modules::schema(&modules::built_in()).map_err(|error| anyhow::anyhow!(error.log()))
}
