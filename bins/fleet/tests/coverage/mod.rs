//! What the server can do with devices, work and desired state, and the command that asks for it.

use std::collections::BTreeSet;

use serde_json::{Value, json as value};

use super::{
    BATCH, RUN, WEB,
    fake::{Fake, json},
};

/// The parts of the API that have to have a command.
const TAGS: &[&str] = &[
    "action-sets",
    "actions",
    "approvals",
    "assignments",
    "batches",
    "definitions",
    "device-groups",
    "devices",
    "escrow",
    "manifests",
    "operations",
    "plans",
    "rollouts",
    "runs",
    "schedules",
    "windows",
];

/// What no command asks for, and why.
const LEFT_OUT: &[(&str, &str)] = &[(
    "label_devices",
    "`devices label` changes one device as it was read; many at once are for programs",
)];

/// A command for each operation; `ID` stands for the id of a thing, and is none that is looked for.
const COMMANDS: &[(&str, &str)] = &[
    ("list_action_sets", "action-sets list"),
    ("create_action_set", "action-sets create Base"),
    ("delete_action_set", "action-sets delete ID"),
    ("get_action_set", "action-sets show ID"),
    ("update_action_set", "action-sets set ID --rename Base"),
    ("list_actions", "actions list"),
    ("create_action", "actions create Motd file"),
    ("delete_action", "actions delete ID"),
    ("get_action", "actions show ID"),
    ("update_action", "actions set ID --name Motd"),
    ("list_approvals", "approvals list"),
    ("get_approval", "approvals show ID"),
    ("approve_work", "approvals approve ID"),
    ("reject_work", "approvals reject ID"),
    ("list_assignments", "assignments list"),
    ("create_assignments", "assign --action ID --to-device ID"),
    ("delete_assignment", "assignments delete ID"),
    ("get_assignment", "assignments show ID"),
    ("update_assignment", "assignments set ID --mode available"),
    ("list_batches", "batches list"),
    ("create_batch", "run --on ID --no-wait -- true"),
    ("get_batch", "batches show BATCH"),
    ("cancel_batch", "batches cancel BATCH"),
    ("retry_batch", "batches retry BATCH"),
    ("list_definitions", "definitions list"),
    ("create_definition", "definitions create Web"),
    ("delete_definition", "definitions delete ID"),
    ("get_definition", "definitions show ID"),
    ("update_definition", "definitions set ID --rename Web"),
    ("list_device_groups", "groups list"),
    ("create_device_group", "groups create web"),
    ("check_device_group_query", "groups check labels.env"),
    ("delete_device_group", "groups delete ID"),
    ("get_device_group", "groups show ID"),
    ("update_device_group", "groups set ID --name web"),
    ("evaluate_device_group", "groups evaluate ID"),
    ("remove_group_device", "groups remove ID ID"),
    ("add_group_device", "groups add ID ID"),
    ("list_devices", "devices list"),
    ("delete_device", "devices delete ID"),
    ("get_device", "devices show ID"),
    ("update_device", "devices set ID --name web"),
    ("approve_device", "devices approve ID"),
    ("list_device_events", "devices events ID"),
    ("get_device_owners", "devices owners ID"),
    ("set_device_owners", "devices owners ID --nobody"),
    ("reject_device", "devices reject ID"),
    ("revoke_device", "devices revoke ID"),
    ("list_device_available", "devices available ID"),
    ("set_device_selection", "devices select ID --action ID"),
    ("get_device_manifest", "manifest ID"),
    ("list_device_manifest_events", "manifest ID --history"),
    ("explain_device_actions", "why ID"),
    ("list_escrowed_secrets", "escrow list ID"),
    ("get_device_disk_keys", "devices disk-keys ID"),
    ("create_disk_passphrase_token", "devices disk-passphrase-token ID"),
    ("reveal_escrowed_secret", "escrow reveal --id ID"),
    ("list_operations", "operations"),
    ("list_plans", "plans list"),
    ("create_plan", "plans create Nightly --all -- true"),
    ("delete_plan", "plans delete ID"),
    ("get_plan", "plans show ID"),
    ("update_plan", "plans set ID --disable"),
    ("start_plan", "plans start ID"),
    ("get_rollout", "rollouts show BATCH"),
    ("abort_rollout", "rollouts abort BATCH"),
    ("pause_rollout", "rollouts pause BATCH"),
    ("resume_rollout", "rollouts resume BATCH"),
    ("list_rollouts", "rollouts list"),
    ("list_runs", "runs list"),
    ("get_run", "runs show RUN"),
    ("cancel_run", "runs cancel RUN"),
    ("cancel_device_runs", "runs cancel --device ID"),
    ("retry_run", "runs retry RUN"),
    ("list_run_events", "runs events RUN"),
    ("list_run_output", "runs output RUN"),
    ("stream_run_output", "runs output RUN --follow"),
    ("download_run_text", "runs output RUN --format text"),
    ("download_run_ndjson", "runs output RUN --format ndjson"),
    ("preview_schedule", "schedule preview 0_3_*_*_*"),
    ("list_windows", "windows list"),
    (
        "create_window",
        "windows create Nights --all-devices --cron 0_3_*_*_* --for 2h",
    ),
    ("get_window_calendar", "windows calendar --ical"),
    ("check_window", "windows check ID"),
    ("list_window_occurrences", "windows calendar"),
    ("delete_window", "windows delete ID"),
    ("get_window", "windows show ID"),
    ("update_window", "windows set ID --disable"),
];

/// An operation as the description of the API names it.
struct Operation {
    id: String,
    method: String,
    path: String,
}

fn operations() -> Vec<Operation> {
    let text = include_str!("../../../../openapi/openapi.json");
    let document: Value = serde_json::from_str(text).unwrap();
    let mut operations = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let tag = operation["tags"][0].as_str().unwrap_or_default();
            if TAGS.contains(&tag) {
                operations.push(Operation {
                    id: operation["operationId"].as_str().unwrap().to_owned(),
                    method: method.to_uppercase(),
                    path: path.clone(),
                });
            }
        }
    }
    operations
}

/// Whether a request, as `METHOD /path?query`, is one for an operation.
fn is_for(operation: &Operation, asked: &str) -> bool {
    let Some((method, target)) = asked.split_once(' ') else {
        return false;
    };
    let path = target.split('?').next().unwrap_or_default();
    let (asked, wanted): (Vec<_>, Vec<_>) = (path.split('/').collect(), operation.path.split('/').collect());
    let fits = |(part, wanted): (&&str, &&str)| wanted.starts_with('{') || part == wanted;
    method == operation.method && asked.len() == wanted.len() && asked.iter().zip(&wanted).all(fits)
}

/// A server that has everything, and says the same of all of it.
fn anything() -> Fake {
    let thing = value!({"id": WEB, "name": "web", "state": "succeeded", "terminal": true, "finished": true, "runs": 1,
        "items": [], "next": null, "about": {}, "secret": "x", "in_words": "well", "valid": true, "times": []});
    Fake::start(move |_, _| json(200, thing.clone()))
}

#[test]
fn whatever_the_server_does_for_operators_has_a_command() {
    let operations = operations();
    let told: Vec<_> = COMMANDS.iter().chain(LEFT_OUT).map(|(id, _)| *id).collect();
    let ids: BTreeSet<_> = operations.iter().map(|operation| operation.id.as_str()).collect();
    let known: BTreeSet<_> = told.iter().copied().collect();
    assert_eq!(known.len(), told.len(), "an operation has two lines");
    assert_eq!(known, ids, "operations, and those that have a line here");
    assert!(LEFT_OUT.iter().all(|(_, why)| !why.is_empty()));
    let mut silent = Vec::new();
    for (id, command) in COMMANDS {
        let operation = operations.iter().find(|operation| operation.id == *id).unwrap();
        let words: Vec<_> = command
            .split(' ')
            .map(|word| match word {
                "ID" => WEB.to_owned(),
                "BATCH" => BATCH.to_owned(),
                "RUN" => RUN.to_owned(),
                word => word.replace('_', " "),
            })
            .collect();
        let words: Vec<_> = words.iter().map(String::as_str).collect();
        let server = anything();
        let done = server.fleet(&words);
        let asked = server.asked();
        if !asked.iter().any(|asked| is_for(operation, asked)) {
            silent.push(format!("{id}: `fleet {command}` asked for {asked:?}; {}", done.err));
        }
    }
    assert!(silent.is_empty(), "{silent:#?}");
}
