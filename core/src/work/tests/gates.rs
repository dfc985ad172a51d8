//! Switches that keep `agent.update` from devices.

use serde_json::json;

use super::Work;
use crate::{
    agents::{UPDATES_DISABLED, UPDATES_ENABLED},
    devices::{
        device::DeviceChange,
        testing::{TestFleet, fails},
    },
    work::{BatchRequest, State, operations::agent_update},
};

/// Which switch.
#[derive(Clone, Copy, Debug)]
enum Switch {
    Server,
    Device,
}

impl Work {
    async fn turn(&self, switch: Switch, on: bool) {
        let TestFleet { fleet, .. } = &self.test;
        let admin = self.test.admin();
        match switch {
            Switch::Server => {
                let (settings, value) = (fleet.settings(), json!(on));
                let set = settings.set(&admin, UPDATES_ENABLED.name(), &value, None).await;
                set.map(drop).unwrap();
            }
            Switch::Device => {
                let change = DeviceChange {
                    agent_updates_enabled: Some(on),
                    ..DeviceChange::default()
                };
                let shown = fleet.devices().set(&admin, self.device, None, &change).await.unwrap();
                assert_eq!(shown.agent_updates_enabled, on);
            }
        }
    }

    fn update(&self) -> BatchRequest {
        BatchRequest {
            operation: agent_update::NAME.into(),
            params: json!({}).into(),
            ..self.request("")
        }
    }
}

#[tokio::test]
async fn a_switch_that_is_off_refuses_updates_and_nothing_else() {
    for switch in [Switch::Server, Switch::Device] {
        let work = Work::new().await;
        work.turn(switch, false).await;
        fails(work.create(&work.update()).await, UPDATES_DISABLED);
        work.create(&work.request("true")).await.unwrap();
        work.turn(switch, true).await;
        work.create(&work.update()).await.unwrap();
    }
}

#[tokio::test]
async fn a_switch_that_is_turned_off_later_stops_what_was_not_offered() {
    for switch in [Switch::Server, Switch::Device] {
        let work = Work::new().await;
        let batch = work.create(&work.update()).await.unwrap();
        // Of one moment either could be first.
        work.advance(1);
        let behind = work.create(&work.request("true")).await.unwrap();
        work.turn(switch, false).await;
        assert!(work.pending(1).await.offers.is_empty());
        let stopped = work.only_run_of(batch.id).await;
        assert_eq!(stopped.state, State::Cancelled);
        assert_eq!(stopped.ending.unwrap().code.as_deref(), Some("agent_update.disabled"));
        assert!(stopped.finished_at.is_some());
        // What waited behind it goes on.
        let offers = work.pending(1).await.offers;
        assert_eq!(offers[0].body.run, work.only_run_of(behind.id).await.id);
    }
}

#[tokio::test]
async fn what_was_offered_before_may_be_under_way_and_goes_on() {
    let work = Work::new().await;
    let batch = work.create(&work.update()).await.unwrap();
    assert_eq!(work.pending(1).await.offers.len(), 1);
    work.turn(Switch::Server, false).await;
    assert_eq!(work.pending(2).await.offers.len(), 1, "in the next session again");
    assert_eq!(work.only_run_of(batch.id).await.state, State::Offered);
}
