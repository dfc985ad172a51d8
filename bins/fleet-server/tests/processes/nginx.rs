//! nginx in front of the server, with the configuration that the handbook gives.

use std::{
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};

use fleet_core::{
    Fleet,
    kernel::{SigningKey, SystemRandom},
};
use tokio::process::{Child, Command};

/// nginx, in one process of its own.
pub(crate) struct Nginx {
    child: Child,
}

impl Nginx {
    /// Starts it and waits until it listens.
    pub(crate) async fn start(folder: &Path, listen: &str, server: &str) -> Self {
        let configuration = folder.join("nginx.conf");
        let folder = folder.display();
        let text = format!(
            "daemon off; master_process off; pid {folder}/nginx.pid; error_log {folder}/nginx.log;
events {{ worker_connections 256; }}
http {{
    access_log off;
    client_body_temp_path {folder}/nginx-body; proxy_temp_path {folder}/nginx-proxy; fastcgi_temp_path {folder}/nginx-1;
    uwsgi_temp_path {folder}/nginx-2; scgi_temp_path {folder}/nginx-3;
    map $http_upgrade $connection_upgrade {{ default upgrade; '' close; }}
    server {{
        listen {listen} ssl;
        ssl_certificate {folder}/proxy.pem;
        ssl_certificate_key {folder}/proxy.key;
        client_max_body_size 8m;
        location / {{
            proxy_pass http://{server};
            proxy_http_version 1.1;
            proxy_set_header Host $host;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection $connection_upgrade;
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
            proxy_read_timeout 120s;
            proxy_buffering off;
        }}
    }}
}}
"
        );
        std::fs::write(&configuration, text).unwrap();
        let child = Command::new("nginx")
            .arg("-c")
            .arg(&configuration)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::inherit())
            .kill_on_drop(true)
            .spawn()
            .expect("nginx is installed; run `cargo xtask setup`");
        let deadline = Instant::now() + Duration::from_secs(30);
        while tokio::net::TcpStream::connect(listen).await.is_err() {
            assert!(Instant::now() < deadline, "nginx does not listen");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Self { child }
    }

    pub(crate) async fn kill(&mut self) {
        // It may be dead already.
        let _ = self.child.kill().await;
    }
}

/// A certificate for nginx, and that of its authority, which agents then trust as if the system did.
pub(crate) fn write_certificate(fleet: &Fleet, folder: &Path) {
    let key = SigningKey::generate(&SystemRandom);
    let issued = fleet
        .certificates()
        .issue_server(fleet.server(), &key.public(), &["127.0.0.1".to_owned()])
        .unwrap();
    let pem = |label: &str, der: &[u8]| {
        use base64::{Engine as _, engine::general_purpose::STANDARD};
        format!(
            "-----BEGIN {label}-----\n{}\n-----END {label}-----\n",
            STANDARD.encode(der)
        )
    };
    std::fs::write(folder.join("proxy.pem"), pem("CERTIFICATE", &issued.certificate)).unwrap();
    std::fs::write(folder.join("proxy.key"), pem("PRIVATE KEY", &key.to_pkcs8())).unwrap();
    let authority = pem("CERTIFICATE", &fleet.certificates().bundle()[0]);
    std::fs::write(folder.join("ca.pem"), authority).unwrap();
}
