//! Whether a device is a virtual machine or a container, from a few files that cost nothing to read.

use super::{CollectContext, files};

/// What the files say.
#[derive(Debug, Default)]
struct Facts {
    /// What the container's manager told its first process (`container=` in `/proc/1/environ`, or systemd's copy).
    container: Option<String>,
    docker_file: bool,
    podman_file: bool,
    kernel: String,
    /// Vendor and product of the firmware's tables, in one text.
    firmware: String,
    hypervisor: Option<String>,
    hypervisor_flag: Option<bool>,
}

/// The kind in the words of systemd-detect-virt(1) where it has one; `vm` for a virtual machine that does not say which.
pub(super) fn detect(context: &CollectContext) -> Option<String> {
    let small = |path: &str| files::read_small(&context.path(path));
    let environment = small("/proc/1/environ").and_then(|text| {
        let found = text
            .split('\0')
            .find_map(|variable| variable.strip_prefix("container="));
        found.map(str::to_owned)
    });
    let mut hypervisor_flag = None;
    // Only the first processor's flags are needed, and the file can be long: an error at the limit is no matter.
    let _ = files::for_each_line(&context.path("/proc/cpuinfo"), 16 << 20, |line| {
        if hypervisor_flag.is_none() && line.starts_with("flags") {
            hypervisor_flag = Some(line.split_ascii_whitespace().any(|flag| flag == "hypervisor"));
        }
    });
    let firmware = ["sys_vendor", "product_name", "board_vendor", "bios_vendor"]
        .map(|name| small(&format!("/sys/class/dmi/id/{name}")).unwrap_or_default());
    decide(&Facts {
        container: small("/run/systemd/container").or(environment),
        docker_file: context.path("/.dockerenv").exists(),
        podman_file: context.path("/run/.containerenv").exists(),
        kernel: small("/proc/sys/kernel/osrelease").unwrap_or_default(),
        firmware: firmware.join("\n"),
        hypervisor: small("/sys/hypervisor/type"),
        hypervisor_flag,
    })
}

fn decide(facts: &Facts) -> Option<String> {
    let kind = |kind: &str| Some(kind.to_owned());
    if let Some(container) = &facts.container {
        let known = [
            "docker",
            "podman",
            "lxc",
            "lxc-libvirt",
            "systemd-nspawn",
            "oci",
            "rkt",
            "wsl",
            "proot",
        ];
        return kind(
            known
                .into_iter()
                .find(|known| known == container)
                .unwrap_or("container"),
        );
    }
    if facts.podman_file {
        return kind("podman");
    }
    if facts.docker_file {
        return kind("docker");
    }
    if facts.kernel.to_ascii_lowercase().contains("microsoft") {
        return kind("wsl");
    }
    if facts.hypervisor.as_deref() == Some("xen") {
        return kind("xen");
    }
    const FIRMWARE: [(&str, &str); 12] = [
        ("Amazon EC2", "amazon"),
        ("Google Compute Engine", "google"),
        ("KVM", "kvm"),
        ("OpenStack", "kvm"),
        ("QEMU", "qemu"),
        ("VMware", "vmware"),
        ("VMW", "vmware"),
        ("innotek GmbH", "oracle"),
        ("VirtualBox", "oracle"),
        ("Microsoft Corporation\nVirtual Machine", "microsoft"),
        ("Parallels", "parallels"),
        ("Xen", "xen"),
    ];
    if let Some((_, name)) = FIRMWARE.iter().find(|(text, _)| facts.firmware.contains(text)) {
        return kind(name);
    }
    match facts.hypervisor_flag {
        Some(true) => kind("vm"),
        Some(false) => kind("none"),
        None => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(facts: Facts, expected: Option<&str>) {
        assert_eq!(decide(&facts).as_deref(), expected, "{facts:?}");
    }

    #[test]
    fn a_container_is_named_before_the_machine_around_it() {
        let machine = || Facts {
            firmware: "QEMU\nStandard PC".into(),
            hypervisor_flag: Some(true),
            ..Facts::default()
        };
        check(machine(), Some("qemu"));
        check(
            Facts {
                docker_file: true,
                ..machine()
            },
            Some("docker"),
        );
        check(
            Facts {
                container: Some("lxc".into()),
                docker_file: true,
                ..machine()
            },
            Some("lxc"),
        );
        check(
            Facts {
                container: Some("\u{1b}[31m".into()),
                ..machine()
            },
            Some("container"),
        );
    }

    #[test]
    fn machines_say_what_they_are() {
        check(
            Facts {
                firmware: "Microsoft Corporation\nVirtual Machine".into(),
                ..Facts::default()
            },
            Some("microsoft"),
        );
        check(
            Facts {
                firmware: "Microsoft Corporation\nSurface".into(),
                hypervisor_flag: Some(false),
                ..Facts::default()
            },
            Some("none"),
        );
        check(
            Facts {
                hypervisor_flag: Some(true),
                ..Facts::default()
            },
            Some("vm"),
        );
        check(
            Facts {
                kernel: "5.15.90.1-microsoft-standard-WSL2".into(),
                ..Facts::default()
            },
            Some("wsl"),
        );
        check(Facts::default(), None);
    }
}
