//! Signing in and out.

use std::path::PathBuf;

use serde_json::json;

use super::{Context, Global, secret};
use crate::{
    client::{Client, Exit, Failure, Result, Session},
    output::{Format, Output, note},
};

/// `fleet login`
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  fleet login https://fleet.example.org --name admin
  fleet login --name admin --password-file - < secret.txt")]
pub struct Login {
    /// The server's address; that of the last time when left out.
    #[arg(value_name = "URL")]
    address: Option<String>,
    /// Your name; that of the last time when left out.
    #[arg(long)]
    name: Option<String>,
    #[command(flatten)]
    password: secret::PasswordSource,
}

/// `fleet bootstrap`
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  fleet bootstrap http://127.0.0.1:8080 --name admin --token-file /var/lib/fleet/bootstrap-token")]
pub struct Bootstrap {
    /// The server's address.
    #[arg(value_name = "URL")]
    address: String,
    /// The administrator's name.
    #[arg(long)]
    name: String,
    /// The file with the one-time token; the server writes it to `bootstrap-token` in its data folder.
    #[arg(long, value_name = "FILE")]
    token_file: PathBuf,
    #[command(flatten)]
    password: secret::PasswordSource,
}

/// `fleet password`
#[derive(Debug, clap::Args)]
pub struct OwnPassword {
    /// Read the present password from this file; it is asked for otherwise.
    #[arg(long, value_name = "FILE")]
    current_password_file: Option<PathBuf>,
    #[command(flatten)]
    new: secret::PasswordSource,
}

/// Signs in and keeps the session.
pub async fn login(global: &Global, login: Login, output: &mut Output) -> Result<()> {
    let path = global.credentials()?;
    let last = Session::load(&path)?;
    let address = login
        .address
        .or_else(|| global.url.clone())
        .or_else(|| last.as_ref().map(|session| session.url.clone()))
        .ok_or_else(|| Failure::usage("say where: fleet login URL --name NAME"))?;
    let name = login
        .name
        .or_else(|| last.map(|session| session.name))
        .ok_or_else(|| Failure::usage("say who: fleet login URL --name NAME"))?;
    let client = Client::new(&address, None)?;
    if client.is_readable_by_others() {
        note("warning: the password travels unencrypted; use https:// beyond this machine");
    }
    let password = login.password.read("Password", false).await?;
    let body = json!({"name": name, "password": password});
    let session = client
        .post(&["sessions"], &body, None)
        .await
        .map_err(wrong_password)?
        .body;
    let Some(token) = session["token"].as_str() else {
        return Err(Failure::unexpected("the server gave no token"));
    };
    Session {
        url: client.url().to_owned(),
        name: name.clone(),
        token: token.to_owned(),
    }
    .save(&path)?;
    let expires = session["expires_at"].clone();
    output.done(
        &format!("signed in at {} as {name}", client.url()),
        &json!({"url": client.url(), "name": name, "expires_at": expires}),
    )
}

/// The hint to sign in would be of no use here.
fn wrong_password(failure: Failure) -> Failure {
    if failure.exit() == Exit::NotFound {
        failure.hint("is the name right, and the password?")
    } else {
        failure
    }
}

/// Creates the first administrator.
pub async fn bootstrap(bootstrap: Bootstrap, output: &mut Output) -> Result<()> {
    let client = Client::new(&bootstrap.address, None)?;
    let token = secret::from_file(&bootstrap.token_file)?;
    let password = bootstrap.password.read("New password", true).await?;
    let body = json!({"token": token, "name": bootstrap.name, "password": password});
    let user = client.post(&["bootstrap"], &body, None).await?.body;
    output.done(
        &format!(
            "created the administrator {name}; sign in with `fleet login {url} --name {name}`",
            name = bootstrap.name,
            url = client.url()
        ),
        &user,
    )
}

/// Ends the session at the server and forgets it, also when the server does not know it any more.
pub async fn logout(global: &Global, output: &mut Output) -> Result<()> {
    let path = global.credentials()?;
    let Some(session) = Session::load(&path)? else {
        return output.done("nobody was signed in", &json!({}));
    };
    let client = Client::new(&session.url, Some(session.token))?;
    let ended = client.delete(&["sessions", "current"]).await;
    Session::forget(&path)?;
    match ended {
        Err(failure) if failure.exit() != Exit::NotFound => {
            Err(failure
                .hint("the session is forgotten here, but the server could not be told; it ends there by itself"))
        }
        _ => output.done("signed out", &json!({"url": session.url})),
    }
}

/// Shows who is signed in.
pub async fn whoami(context: &mut Context) -> Result<()> {
    let me = context.client.get(&["me"], &[]).await?.body;
    if context.output.format() == Format::Table {
        let user = if me["user"].is_object() { &me["user"] } else { &me };
        let name = user["name"].as_str().unwrap_or("?");
        let role = me["role"].as_str().or_else(|| user["role"].as_str()).unwrap_or("?");
        return context
            .output
            .text(&format!("{name} ({role}) at {}\n", context.client.url()));
    }
    context.output.thing(&me)
}

/// Sets one's own password.
pub async fn set_own_password(context: &mut Context, password: OwnPassword) -> Result<()> {
    let current = match &password.current_password_file {
        Some(path) => secret::from_file(path)?,
        None => secret::ask("Present password").await?,
    };
    let new = password.new.read("New password", true).await?;
    let body = json!({"current": current, "new": new});
    context.client.put(&["me", "password"], &body).await?;
    context.output.done("the password is set", &json!({}))
}
