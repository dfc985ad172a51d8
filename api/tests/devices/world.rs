//! What these tests have in common.

#![allow(dead_code, reason = "each test program uses its part")]

use fleet_core::{
    access::{Context, Outcome, audit::AuditFilter},
    devices::inventory::{InstalledPackage, Packages, SectionBody, SectionReport},
    kernel::{Clock as _, PageRequest},
    store::{Digest, Record},
};
use futures::StreamExt as _;
use serde_json::Value;

use crate::support::{Answer, App, Call, Device};

/// All that is stored, in one number: equal before and after means that nothing was written.
pub async fn digest(app: &App) -> Digest {
    let mut records = app.fleet.store().backend().view().await.unwrap().export();
    let mut end = None;
    while let Some(record) = records.next().await {
        if let Record::End { digest, .. } = record.unwrap() {
            end = Some(digest);
        }
    }
    end.unwrap()
}

/// Sends a request that must be refused with this status and code, and must change nothing.
pub async fn refused(app: &App, call: Call<'_>, status: u16, code: &str) -> Answer {
    let before = digest(app).await;
    let answer = call.send().await;
    answer.refused(status, code);
    assert_eq!(digest(app).await, before, "{code} and still something was written");
    answer
}

/// Sends an enrolment that must be refused with this status and code, and must leave nothing but its audit entry.
pub async fn refused_enrolment(app: &App, call: Call<'_>, status: u16, code: &str) -> Answer {
    app.advance(1);
    let system = Context::system("test");
    let devices = async || app.fleet.devices().counts(&system).await.unwrap().devices;
    let before = devices().await;
    let seq = app.fleet.store().reader().await.unwrap().seq();
    let answer = call.send().await;
    answer.refused(status, code);
    assert_eq!(devices().await, before, "{code} and still there is a device");
    assert_eq!(app.fleet.store().reader().await.unwrap().seq(), seq + 1, "{code}");
    let (filter, page) = (AuditFilter::default(), PageRequest::new(Some(1), None).unwrap());
    let entry = app
        .fleet
        .audit()
        .list(&system, &filter, &page)
        .await
        .unwrap()
        .items
        .remove(0);
    assert_eq!(
        (entry.action.as_str(), entry.outcome),
        ("enrolment.refused", Outcome::Refused)
    );
    assert_eq!(entry.details["reason"], code);
    answer
}

/// The members of this name, of all items.
pub fn column(answer: &Answer, member: &str) -> Vec<String> {
    let body = answer.json();
    let items = body["items"].as_array().unwrap_or_else(|| panic!("no page: {body}"));
    items
        .iter()
        .map(|item| match item.pointer(member).unwrap_or(&Value::Null) {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        })
        .collect()
}

/// A report of a section, as it is sent.
pub fn report(app: &App, body: SectionBody) -> Value {
    let report = SectionReport::new(body, app.clock.now()).unwrap();
    serde_json::to_value(report).unwrap()
}

/// Sends a report as an agent does: packed, and proved.
pub fn sending<'a>(app: &'a App, device: &Device, report: &Value) -> Call<'a> {
    let section = report["section"].as_str().unwrap();
    let packed = zstd::encode_all(&*serde_json::to_vec(report).unwrap(), 1).unwrap();
    app.post(&format!("/agent/v1/reports/{section}"))
        .header("content-encoding", "zstd")
        .bytes(packed)
        .device(device)
}

/// Sends a report that is taken.
pub async fn send(app: &App, device: &Device, body: SectionBody) {
    sending(app, device, &report(app, body)).send().await.expect(204);
}

/// Packages, each as `name version`, with `> version` an update, with `!` a security update.
pub fn packages(list: &[&str]) -> SectionBody {
    let package = |text: &&str| {
        let mut words = text.split_whitespace();
        let mut package = InstalledPackage {
            name: words.next().unwrap().to_owned(),
            version: words.next().unwrap().to_owned(),
            architecture: "amd64".to_owned(),
            ..InstalledPackage::default()
        };
        while let Some(word) = words.next() {
            match word {
                ">" => package.available_version = words.next().map(str::to_owned),
                "!" => package.security = true,
                _ => panic!("{word}"),
            }
        }
        package
    };
    SectionBody::Packages(Packages {
        available: true,
        manager: "dpkg".to_owned(),
        items: list.iter().map(package).collect(),
        ..Packages::default()
    })
}

/// Sends bytes as a report of users that is packed.
pub fn packed<'a>(app: &'a App, device: &Device, bytes: Vec<u8>) -> Call<'a> {
    app.post("/agent/v1/reports/users")
        .header("content-encoding", "zstd")
        .bytes(bytes)
        .device(device)
}

/// A frame of zstd (RFC 8878 §3.1.1) of so many blocks that each repeat one byte 128 KiB times, with a window of
/// 2^`window_log` bytes. Written by hand, as packing a gigabyte takes longer than refusing it.
pub fn repeated(blocks: usize, window_log: u8) -> Vec<u8> {
    let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0x00, (window_log - 10) << 3];
    for block in 1..=blocks {
        let last = u32::from(block == blocks);
        // Type 1 is "repeat the one byte that follows".
        let header = last | (1 << 1) | ((128 << 10) << 3);
        frame.extend_from_slice(&header.to_le_bytes()[..3]);
        frame.push(b' ');
    }
    frame
}
