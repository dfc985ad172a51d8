#!/usr/bin/env python3
"""Makes packages.txt and services.txt from what apt, dpkg and systemd know of this machine (Debian 12, amd64).

    apt-get update && python3 bench/dataset/data/make.py

Packages: those of priority required to standard and the dependencies of some roles of servers, then packages of which
the lists hold more than one version, then others from sections that servers use, by name, up to LIMIT. All facts
(names, versions in any of the lists, architecture, section, installed size, source) are those of apt's own lists.
Services: the unit files that this machine has, with their descriptions.
"""
import functools, glob, os, re, subprocess

HERE = os.path.dirname(os.path.abspath(__file__))
LIMIT = 3000
ROLES = {
    "core": [],
    "web": ["nginx", "php-fpm", "certbot", "apache2"],
    "database": ["postgresql", "mariadb-server", "redis-server"],
    "container": ["podman", "buildah", "docker.io"],
    "build": ["build-essential", "git", "cmake", "python3-dev"],
    "mail": ["postfix", "dovecot-imapd", "rspamd", "spamassassin"],
    "monitoring": ["prometheus", "prometheus-node-exporter", "rsyslog", "snmpd"],
    "files": ["samba", "nfs-kernel-server", "rsync", "vsftpd"],
}
SECTIONS = {"admin", "net", "utils", "libs", "perl", "python", "database", "httpd", "mail", "devel", "shells", "text"}


def out(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def newer(a, b):
    return 0 if a == b else (-1 if subprocess.run(["dpkg", "--compare-versions", a, "lt", b]).returncode == 0 else 1)


packages = {}
for block in out("/usr/lib/apt/apt-helper", "cat-file", *sorted(glob.glob("/var/lib/apt/lists/*_Packages*"))).split("\n\n"):
    fields = dict(re.findall(r"^([A-Za-z-]+): (.*)$", block, re.M))
    if "Version" not in fields or any("|" in value for key, value in fields.items() if key in ("Package", "Version")):
        continue
    package = packages.setdefault(fields["Package"], {"versions": set()})
    package["versions"].add(fields["Version"])
    package.update(
        architecture=fields.get("Architecture", "all"),
        section=fields.get("Section", "misc"),
        size=int(fields.get("Installed-Size", 0)),
        source=fields.get("Source", fields["Package"]).split(" ")[0],
        priority=fields.get("Priority", "optional"),
        depends=[
            re.split(r"[ :(|]", part.strip())[0]
            for key in ("Pre-Depends", "Depends")
            for part in fields.get(key, "").split(",")
            if part.strip()
        ],
    )

roles = {}
for role, roots in ROLES.items():
    if role == "core":
        roots = sorted(n for n, p in packages.items() if p["priority"] in ("required", "important", "standard"))
    waiting = [name for name in roots if name in packages]
    while waiting:
        name = waiting.pop()
        if name in packages and name not in roles:
            roles[name] = role
            waiting.extend(packages[name]["depends"])
candidates = [n for n, p in packages.items() if n not in roles and p["section"].split("/")[-1] in SECTIONS]
candidates.sort(key=lambda n: (len(packages[n]["versions"]) < 2, n))
several = [n for n in candidates if len(packages[n]["versions"]) > 1][:600]
others = [n for n in candidates if len(packages[n]["versions"]) < 2]
rest = LIMIT - len(roles) - len(several)
others = others[:: max(1, len(others) // rest)][:rest]
roles.update({name: "extra" for name in several + others})

with open(os.path.join(HERE, "packages.txt"), "w") as file:
    file.write("# Packages of Debian 12 (bookworm, its updates and its security archive), made by data/make.py from apt's lists.\n")
    file.write("# role|name|architecture|section|installed size in kB|source|versions, oldest first\n")
    for name in sorted(roles):
        p = packages[name]
        versions = sorted(p["versions"], key=functools.cmp_to_key(newer))
        source = "" if p["source"] == name else p["source"]
        file.write("|".join([roles[name], name, p["architecture"], p["section"], str(p["size"]), source, " ".join(versions)]) + "\n")

units = {}
for path in glob.glob("/lib/systemd/system/*.service"):
    if os.path.isfile(path) and "@" not in path:
        found = re.search(r"^Description=(.*)$", open(path, errors="replace").read(), re.M)
        units[os.path.basename(path)] = found.group(1) if found else ""
with open(os.path.join(HERE, "services.txt"), "w") as file:
    file.write("# Unit files of services on a Debian 12 machine, made by data/make.py from /lib/systemd/system.\n")
    file.write("# name|description\n")
    for name in sorted(units):
        file.write(f"{name}|{units[name]}\n")
