//! A package made on the spot, and a web server that hands it out.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

/// A package with one file in it. It is purged from this machine, and handed out no more, with this value.
pub(crate) struct Package {
    name: String,
    url: String,
    sha256: String,
    _serving: JoinSet<()>,
}

impl Package {
    /// Makes it in a folder. Its name is that of this process, as the machine is everybody's.
    pub(crate) async fn make(folder: &Path) -> Self {
        let name = format!("fleet-test-{}", std::process::id());
        let tree = folder.join("package");
        let control = format!(
            "Package: {name}\nVersion: 1.0\nArchitecture: all\nMaintainer: fleet <fleet@example.org>\nDescription: A test of fleet\n"
        );
        let placed = tree.join("opt").join(&name);
        std::fs::create_dir_all(tree.join("DEBIAN")).unwrap();
        std::fs::create_dir_all(&placed).unwrap();
        std::fs::write(tree.join("DEBIAN/control"), control).unwrap();
        std::fs::write(placed.join("mark"), "installed\n").unwrap();
        let file = folder.join("package.deb");
        let built = Command::new("dpkg-deb")
            .args(["--root-owner-group", "--build"])
            .args([&tree, &file])
            .stdout(Stdio::null())
            .status();
        assert!(built.unwrap().success());
        let bytes = std::fs::read(&file).unwrap();
        let sha256 = Sha256::digest(&bytes)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/{name}_1.0_all.deb", listener.local_addr().unwrap());
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut answers = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let bytes = bytes.clone();
                answers.spawn(async move {
                    // Whoever asked may have heard enough.
                    let _ = answer(stream, &bytes).await;
                });
            }
        });
        Self {
            name,
            url,
            sha256,
            _serving: serving,
        }
    }

    /// The parameters of `package.file` by which it is installed.
    pub(crate) fn params(&self) -> Value {
        json!({"deb": {"url": self.url, "sha256": self.sha256, "name": self.name, "version": "1.0"}})
    }

    fn mark(&self) -> PathBuf {
        Path::new("/opt").join(&self.name).join("mark")
    }

    /// Whether it is installed, by its file and by what dpkg says.
    pub(crate) fn is_installed(&self) -> bool {
        let asked = Command::new("dpkg-query")
            .args(["--show", "--showformat=${db:Status-Abbrev}", &self.name])
            .stderr(Stdio::null())
            .output();
        self.mark().exists() && asked.unwrap().stdout.starts_with(b"ii")
    }

    /// Somebody removes it. Whoever holds the lock of dpkg is waited for.
    pub(crate) fn remove_by_hand(&self) {
        let removed = self.purge();
        assert!(removed.is_ok_and(|status| status.success()));
        assert!(!self.is_installed());
    }

    fn purge(&self) -> std::io::Result<std::process::ExitStatus> {
        Command::new("apt-get")
            .args(["-q", "-y", "-o", "DPkg::Lock::Timeout=60", "purge", &self.name])
            .env("DEBIAN_FRONTEND", "noninteractive")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
    }
}

impl Drop for Package {
    fn drop(&mut self) {
        // Also where the test has failed, and whatever of it is there.
        match self.purge() {
            Ok(status) if status.success() => {}
            ended => println!("{} may be left on this machine: {ended:?}", self.name),
        }
    }
}

async fn answer(mut stream: TcpStream, bytes: &[u8]) -> std::io::Result<()> {
    let mut question = Vec::new();
    while !question.ends_with(b"\r\n\r\n") {
        question.push(stream.read_u8().await?);
    }
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        bytes.len()
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(bytes).await
}
