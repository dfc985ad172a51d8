//! `wifi`: the device knows a wireless network, and how it is let in.

use serde::{Deserialize, Serialize};

use super::{
    Presence,
    common::{action, action_params, is_false, is_true, yes},
    names,
};
use crate::{
    access::Permission,
    work::{
        operations::{OperationKind, Risk, Subject, Upkeep, named},
        secrets::SecretText,
    },
};

/// Decide which wireless networks devices join.
pub const WIFI_RUN: Permission = Permission::new("operations.wifi:run");
/// The name of the kind.
pub const NAME: &str = "wifi";

/// The longest certificate or key, in bytes.
const MAX_PEM: usize = 16 * 1024;

/// The parameters of `wifi`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct WifiParams {
    /// Whether the device is to know it.
    #[serde(default, skip_serializing_if = "Presence::is_present")]
    pub state: Presence,
    /// Only say what would be done.
    #[serde(default, skip_serializing_if = "is_false")]
    pub dry_run: bool,
    /// A name for this network on devices: another action with the same name replaces it.
    pub name: String,
    /// What the network calls itself, 1 to 32 bytes.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub ssid: String,
    /// The pre-shared key of WPA2 and WPA3 Personal: 8 to 63 printable ASCII characters, or 64 hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, write_only))]
    pub psk: Option<SecretText>,
    /// Who the device says that it is, where certificates let it in (EAP-TLS); then there is no key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<String>,
    /// The certificate of the authority that the network has to prove itself by, in PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_certificate: Option<String>,
    /// The device's certificate, in PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_certificate: Option<String>,
    /// Its private key, in PEM and not encrypted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, write_only))]
    pub client_key: Option<SecretText>,
    /// Whether it is joined whenever it is there.
    #[serde(default = "yes", skip_serializing_if = "is_true")]
    pub auto_connect: bool,
    /// Which of several is joined, -999 to 999: the highest.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub priority: i16,
    /// Whether the network does not tell its name.
    #[serde(default, skip_serializing_if = "is_false")]
    pub hidden: bool,
}

fn is_zero(value: &i16) -> bool {
    *value == 0
}

impl WifiParams {
    fn check(&self) -> Result<(), String> {
        names::tag("name", &self.name, 64)?;
        if !(-999..=999).contains(&self.priority) {
            return Err("priority: -999 to 999".into());
        }
        if self.state.is_absent() {
            // Whatever lets it in is not looked at.
            return Ok(());
        }
        if self.ssid.is_empty() || self.ssid.len() > 32 || self.ssid.contains('\0') {
            return Err("ssid: 1 to 32 bytes".into());
        }
        let is_by_certificate =
            self.identity.is_some() || self.client_certificate.is_some() || self.client_key.is_some();
        match (&self.psk, is_by_certificate) {
            (Some(psk), false) if self.ca_certificate.is_none() => check_psk(psk.reveal()),
            (None, true) => self.check_certificates(),
            _ => Err("psk: give the key of the network, or identity, certificates and client_key; not both".into()),
        }
    }

    fn check_certificates(&self) -> Result<(), String> {
        let needed = "are needed where certificates let the device in";
        let (Some(identity), Some(ca), Some(certificate), Some(key)) = (
            &self.identity,
            &self.ca_certificate,
            &self.client_certificate,
            &self.client_key,
        ) else {
            // Without the authority's certificate the device would show itself to any network of this name.
            return Err(format!(
                "identity: identity, ca_certificate, client_certificate and client_key {needed}"
            ));
        };
        names::line("identity", identity, 200)?;
        check_pem("ca_certificate", ca, &["CERTIFICATE"])?;
        check_pem("client_certificate", certificate, &["CERTIFICATE"])?;
        if key.reveal() == crate::work::secrets::MASK {
            return Ok(());
        }
        check_pem(
            "client_key",
            key.reveal(),
            &["PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY"],
        )
    }
}

/// A key of IEEE 802.11 for people, or its 32 bytes. What is wrong with it is said without it.
fn check_psk(psk: &str) -> Result<(), String> {
    let is_phrase = (8..=63).contains(&psk.len()) && psk.bytes().all(|c| (b' '..=b'~').contains(&c));
    let is_key = psk.len() == 64 && psk.bytes().all(|c| c.is_ascii_hexdigit());
    match is_phrase || is_key {
        true => Ok(()),
        false => Err("psk: 8 to 63 printable ASCII characters, or 64 hexadecimal digits".into()),
    }
}

/// Texts of RFC 7468 with one of these labels. What is wrong is said without them.
fn check_pem(member: &str, text: &str, labels: &[&str]) -> Result<(), String> {
    let text = text.trim();
    let is_framed = labels.iter().any(|label| {
        text.starts_with(&format!("-----BEGIN {label}-----")) && text.ends_with(&format!("-----END {label}-----"))
    });
    if text.len() > MAX_PEM {
        Err(format!("{member}: at most 16 KiB"))
    } else if !is_framed
        || !text
            .bytes()
            .all(|c| c == b'\n' || c == b'\r' || (b' '..=b'~').contains(&c))
    {
        Err(format!(
            "{member}: is not in PEM, from -----BEGIN {}----- to its end",
            labels[0]
        ))
    } else {
        Ok(())
    }
}

action_params!(WifiParams);

/// The kind.
pub const KIND: OperationKind = OperationKind {
    subject: Some(Subject::new(NAME, |params| named(params, "name"))),
    secrets: &["/client_key", "/psk"],
    ..action::<WifiParams>(
        NAME,
        "keep a wireless network that the device joins",
        WIFI_RUN,
        Risk::High,
        Upkeep::Reverted,
    )
};

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n";
    const KEY: &str = "-----BEGIN PRIVATE KEY-----\nMIIE\n-----END PRIVATE KEY-----\n";

    #[track_caller]
    fn check(params: Value, fits: bool) {
        assert_eq!(KIND.check_params(params.clone()).is_ok(), fits, "{params}");
    }

    fn with(member: &str, value: Value) -> Value {
        let mut params = json!({"name": "office", "ssid": "Office", "identity": "web-1", "ca_certificate": CERTIFICATE,
            "client_certificate": CERTIFICATE, "client_key": KEY});
        match value {
            Value::Null => drop(params.as_object_mut().unwrap().remove(member)),
            value => params[member] = value,
        }
        params
    }

    #[test]
    fn a_network_lets_in_by_a_key() {
        let psk = |psk: &str| json!({"name": "office", "ssid": "Office", "psk": psk});
        check(psk("********"), true);
        check(psk("correct horse; battery\\staple"), true);
        check(psk(&"x".repeat(63)), true);
        check(psk(&"aF".repeat(32)), true);
        check(psk("seven77"), false);
        check(psk(&"x".repeat(64)), false);
        check(psk("schl\u{fc}ssel123"), false);
        check(psk("two\nlines here"), false);
        check(json!({"name": "office", "ssid": "Office"}), false);
        check(json!({"name": "office", "psk": "longenough"}), false);
        check(
            json!({"name": "office", "ssid": "x".repeat(33), "psk": "longenough"}),
            false,
        );
        check(
            json!({"name": "../office", "ssid": "Office", "psk": "longenough"}),
            false,
        );
    }

    #[test]
    fn or_by_certificates_all_of_them() {
        check(with("priority", json!(5)), true);
        check(with("client_key", json!("********")), true);
        for member in ["identity", "ca_certificate", "client_certificate", "client_key"] {
            check(with(member, Value::Null), false);
            check(with(member, json!("two\nlines")), false);
        }
        check(with("psk", json!("longenough")), false);
        check(with("client_key", json!(CERTIFICATE)), false);
        check(with("client_certificate", json!(KEY)), false);
        check(with("priority", json!(1_000)), false);
    }

    #[test]
    fn a_name_is_enough_to_have_it_gone() {
        check(json!({"name": "office", "state": "absent"}), true);
    }
}
