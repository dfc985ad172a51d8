//! A fleet manager inside a program of one's own: no web server, no sockets, any backend.
#![allow(clippy::print_stdout, reason = "this is a program")]

mod backend;

use fleet_core::Fleet;
use fleet_core::access::{Context, Origin, audit::AuditFilter};
use fleet_core::devices::device::{DeviceFilter, DeviceOrder};
use fleet_core::devices::enrolment::{EnrolRequest, Machine, NewEnrolmentToken};
use fleet_core::kernel::{PageRequest, SigningKey, SystemRandom, random_bytes};
use fleet_core::work::RunFilter;
use serde_json::{from_value, json};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let (backend, key) = backend::open(std::env::args().nth(1).as_deref()).await?;
    let fleet = Fleet::builder(backend, key).open().await?;
    let me = Context::system("embed");

    // A token lets one machine in. The machine makes its own key, proves that it has it, and is a device from then on.
    let (enrolment, new) = (fleet.enrolment(), NewEnrolmentToken::default());
    let (_, secret) = enrolment.create_token(&me, &new).await?;
    let (key, mut machine) = (SigningKey::generate(&SystemRandom), Machine::default());
    machine.hostname = "web-01".into();
    let request = EnrolRequest::prove(secret, &key, random_bytes(&SystemRandom), machine);
    let device = enrolment.enrol(&request, Origin::default()).await?.device_id;

    let work = json!({"operation": "shell", "params": {"script": "uname -a"}, "targets": {"devices": [device]}});
    fleet.batches().create(&me, &from_value(work)?, None).await?;
    // The device's side, simulated. An agent gets the same offer over a socket or by polling, and answers the same.
    let (delivery, dispatch) = (fleet.delivery(), fleet.keys().dispatch());
    for offer in delivery.pending(device, 1, &dispatch.key).await?.offers {
        let (run, now) = (offer.body.run, fleet.clock().now());
        offer.verify(&dispatch.public, device, 1, now)?;
        delivery.accepted(device, run).await?;
        delivery.started(device, run, now).await?;
        let output = json!({"run": run, "chunks": [{"sequence": 0, "stream": "stdout", "text": "Linux web-01\n"}]});
        delivery.output(device, &from_value(output)?).await?;
        let end = json!({"run": run, "result": "succeeded", "finished_at": now, "chunks": 1, "truncated_bytes": 0});
        delivery.finished(device, from_value(end)?).await?;
    }

    let (all, order, page) = (DeviceFilter::default(), DeviceOrder::default(), PageRequest::default());
    for device in fleet.devices().list(&me, &all, order, &page).await?.items {
        println!("device {}: {}", device.name, device.presence.name());
    }
    for run in fleet.runs().list(&me, &RunFilter::default(), &page).await?.items {
        println!("run of {} on {}: {}", run.operation, run.device_name, run.state.name());
        for chunk in fleet.output().page(&me, run.id, &page).await?.items {
            print!("  {}", chunk.text);
        }
    }
    let audit = fleet.audit().list(&me, &AuditFilter::default(), &page).await?;
    for entry in audit.items.iter().rev() {
        println!("audit: {} by {}", entry.action, entry.actor.name());
    }
    Ok(fleet.close().await?)
}
