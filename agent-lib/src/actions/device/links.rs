//! Where a path leads.

use std::{
    fs, io,
    path::{Component, Path, PathBuf},
};

/// As many symbolic links in a row as Linux follows (path_resolution(7)).
const MAX_LINKS: usize = 40;

/// Where `path` leads below `root`, with all links followed as if `root` were `/`: nothing leads out of it. What is not there leads to
/// itself.
pub(super) fn resolve(root: &Path, path: &str) -> io::Result<String> {
    let mut found = PathBuf::from("/");
    let mut rest: Vec<_> = parts(Path::new(path)).into_iter().rev().collect();
    let mut links = 0;
    while let Some(part) = rest.pop() {
        if part == ".." {
            found.pop();
            continue;
        }
        let next = found.join(&part);
        match fs::read_link(below(root, &next)) {
            Ok(target) => {
                links += 1;
                if links > MAX_LINKS {
                    return Err(io::Error::other(format!(
                        "{path} leads through too many symbolic links"
                    )));
                }
                if target.is_absolute() {
                    found = PathBuf::from("/");
                }
                rest.extend(parts(&target).into_iter().rev());
            }
            // No link, or not there.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::InvalidInput | io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                ) =>
            {
                found = next;
            }
            Err(error) => return Err(error),
        }
    }
    found
        .into_os_string()
        .into_string()
        .map_err(|_| io::Error::other(format!("{path} leads to a name that is no UTF-8")))
}

/// Where an absolute path lies below a root.
pub(super) fn below(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

fn parts(path: &Path) -> Vec<std::ffi::OsString> {
    path.components()
        .filter_map(|part| match part {
            Component::Normal(part) => Some(part.to_owned()),
            Component::ParentDir => Some("..".into()),
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[track_caller]
    fn check(links: &[(&str, &str)], path: &str, expected: Option<&str>) {
        let root = tempfile::tempdir().unwrap();
        for (link, target) in links {
            let link = below(root.path(), Path::new(link));
            fs::create_dir_all(link.parent().unwrap()).unwrap();
            symlink(target, link).unwrap();
        }
        assert_eq!(resolve(root.path(), path).ok().as_deref(), expected, "{links:?}");
    }

    #[test]
    fn a_path_leads_where_its_links_lead() {
        check(&[], "/a/b", Some("/a/b"));
        check(&[("/a", "c")], "/a/b", Some("/c/b"));
        check(&[("/a", "/c/d")], "/a/b", Some("/c/d/b"));
        check(&[("/a/b", "../c")], "/a/b", Some("/c"));
        check(&[("/a", "b"), ("/b", "/c")], "/a/x", Some("/c/x"));
    }

    #[test]
    fn nothing_leads_out_of_the_root() {
        check(&[("/a", "../../../etc")], "/a/passwd", Some("/etc/passwd"));
        check(&[("/a/b", "/../../etc")], "/a/b/passwd", Some("/etc/passwd"));
    }

    #[test]
    fn links_in_a_circle_lead_nowhere() {
        check(&[("/a", "b"), ("/b", "a")], "/a", None);
    }
}
