//! What lies under a file of jobs: a disk of this machine, and the same one under all that stands beside the file.

use std::path::Path;

use crate::error::{Error, Result};

#[cfg(target_os = "linux")]
pub(super) fn refuse_network(path: &Path) -> Result<()> {
    let found = rustix::fs::statfs(path).map_err(|error| super::place::unusable(path, &error.into()))?;
    let name = match number(i128::from(found.f_type)) {
        FUSE => linux::kind_of_mount(path).and_then(|kind| remote_fuse(&kind)),
        number => network_name(number),
    };
    match name {
        Some(name) => Err(Error::invalid(
            "path",
            format!(
                "must be on a disk of this machine: the shared memory of WAL does not work over {name}; use PostgreSQL \
                 for several machines"
            ),
            path.display(),
        )),
        None => Ok(()),
    }
}

/// A file that is mounted alone stands in one folder and is seen in another: what SQLite keeps beside it, and the folder where
/// processes meet, would be two, and each side would write over what the other has committed.
#[cfg(target_os = "linux")]
pub(super) fn refuse_own_mount(path: &Path) -> Result<()> {
    if !linux::is_mounted_alone(path) {
        return Ok(());
    }
    Err(Error::invalid(
        "path",
        "must not be a file that is mounted by itself (docker run -v .../jobs.db:...): the newest jobs are in files beside it, \
         which stay behind; mount the folder that it lies in",
        path.display(),
    ))
}

#[cfg(not(target_os = "linux"))]
pub(super) fn refuse_network(_path: &Path) -> Result<()> {
    Ok(())
}

#[cfg(not(target_os = "linux"))]
pub(super) fn refuse_own_mount(_path: &Path) -> Result<()> {
    Ok(())
}

/// All file systems that are programs have this one number.
const FUSE: i128 = 0x6573_5546;

/// The number that statfs gives; on some architectures it is signed and 32 bits long.
const fn number(magic: i128) -> i128 {
    magic & 0xFFFF_FFFF
}

/// The name of a network file system by its number.
fn network_name(number: i128) -> Option<&'static str> {
    // linux/magic.h, and fs/*/super.c or the makers' own headers for those that it lacks.
    const NETWORK: [(i128, &str); 16] = [
        (0x6969, "NFS"),
        (0x517B, "SMB"),
        (0xFF53_4D42, "CIFS"),
        (0xFE53_4D42, "SMB2"),
        (0x0102_1997, "9P"),
        (0x5346_414F, "AFS"),
        (0x6B41_4653, "AFS"),
        (0x7375_7245, "Coda"),
        (0x00C3_6400, "Ceph"),
        (0x0BD0_0BD0, "Lustre"),
        (0x0116_1970, "GFS2"),
        (0x7461_636F, "OCFS2"),
        (0x4750_4653, "GPFS"),
        (0x1983_0326, "BeeGFS"),
        (0x2003_0528, "OrangeFS"),
        (0x786F_4256, "the shared folders of VirtualBox"),
    ];
    NETWORK.iter().find(|(known, _)| *known == number).map(|(_, name)| *name)
}

/// The name of one that is a program and leads to other machines, by what it calls itself. Many are local (ntfs-3g, mergerfs, a
/// home that is encrypted), and what is not known is taken for one of these.
fn remote_fuse(kind: &str) -> Option<&'static str> {
    const REMOTE: [(&str, &str); 11] = [
        ("sshfs", "SSHFS"),
        ("glusterfs", "GlusterFS"),
        ("ceph", "Ceph"),
        ("ceph-fuse", "Ceph"),
        ("s3fs", "S3"),
        ("goofys", "S3"),
        ("gcsfuse", "GCS"),
        ("blobfuse2", "Azure's storage"),
        ("rclone", "rclone"),
        ("juicefs", "JuiceFS"),
        ("mfs", "MooseFS"),
    ];
    let kind = kind.strip_prefix("fuse.")?;
    REMOTE.iter().find(|(known, _)| *known == kind).map(|(_, name)| *name)
}

#[cfg(target_os = "linux")]
mod linux {
    use std::fs;
    use std::os::unix::ffi::OsStrExt;
    use std::path::Path;

    use rustix::fs::{AtFlags, CWD, StatxAttributes, StatxFlags, statx};

    /// Whether the file, and not a folder above it, is what is mounted.
    pub(super) fn is_mounted_alone(path: &Path) -> bool {
        let root = StatxAttributes::MOUNT_ROOT;
        match statx(CWD, path, AtFlags::empty(), StatxFlags::empty()) {
            Ok(found) if found.stx_attributes_mask.contains(root) => found.stx_attributes.contains(root),
            // Before Linux 5.8.
            Ok(_) | Err(_) => mounts().iter().any(|mount| mount.at == path.as_os_str().as_bytes()),
        }
    }

    /// What the file system calls itself that the file is on.
    pub(super) fn kind_of_mount(path: &Path) -> Option<String> {
        let path = fs::canonicalize(path).ok()?;
        let over = |mount: &&Mount| path.starts_with(Path::new(std::ffi::OsStr::from_bytes(&mount.at)));
        // Of several at one place the last is seen.
        mounts().iter().filter(over).max_by_key(|mount| mount.at.len()).map(|mount| mount.kind.clone())
    }

    struct Mount {
        at: Vec<u8>,
        kind: String,
    }

    fn mounts() -> Vec<Mount> {
        let table = fs::read("/proc/self/mountinfo").unwrap_or_default();
        table.split(|byte| *byte == b'\n').filter_map(mount).collect()
    }

    /// One line: the place is the fifth word, the kind the first one after a lone hyphen.
    fn mount(line: &[u8]) -> Option<Mount> {
        let mut words = line.split(|byte| *byte == b' ');
        let at = plain(words.nth(4)?);
        let kind = words.skip_while(|word| *word != b"-").nth(1)?;
        Some(Mount { at, kind: String::from_utf8_lossy(kind).into_owned() })
    }

    /// Blanks, line ends and backslashes stand there as three octal digits.
    fn plain(word: &[u8]) -> Vec<u8> {
        let mut plain = Vec::with_capacity(word.len());
        let mut rest = word;
        while let [first, more @ ..] = rest {
            let digits = more.get(..3).and_then(|digits| std::str::from_utf8(digits).ok());
            let byte = digits.and_then(|digits| u8::from_str_radix(digits, 8).ok()).filter(|_| *first == b'\\');
            plain.push(byte.unwrap_or(*first));
            rest = if byte.is_some() { &more[3..] } else { more };
        }
        plain
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn a_line_of_the_table_of_mounts_tells_the_place_and_the_kind() {
            let line = b"36 35 98:0 /mnt1 /data/my\\040jobs rw,noatime master:1 - fuse.sshfs me@host:/ rw";
            let mount = mount(line).unwrap();
            assert_eq!((&mount.at[..], &mount.kind[..]), (&b"/data/my jobs"[..], "fuse.sshfs"));
            assert!(super::mount(b"").is_none());
        }

        #[test]
        fn the_table_of_this_machine_is_read() {
            assert_eq!(kind_of_mount(Path::new("/proc/self/stat")).as_deref(), Some("proc"));
            assert!(is_mounted_alone(Path::new("/proc")) && !is_mounted_alone(Path::new("/proc/version")));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn network_file_systems_are_known_by_their_numbers_also_where_these_are_signed() {
        let name = |magic: i128| network_name(number(magic));
        assert_eq!(name(0x6969), Some("NFS"));
        assert_eq!(name(i128::from(i32::from_ne_bytes(0xFF53_4D42_u32.to_ne_bytes()))), Some("CIFS"));
        assert_eq!(name(i128::from(i32::from_ne_bytes(0xFE53_4D42_u32.to_ne_bytes()))), Some("SMB2"));
        for local in [0xEF53, 0x0102_1994, 0x9123_683E, 0x5846_5342, 0x794C_7630] {
            assert_eq!(name(local), None, "ext4, tmpfs, btrfs, xfs, overlay");
        }
    }

    #[test]
    fn of_file_systems_that_are_programs_those_are_refused_that_lead_to_other_machines() {
        assert_eq!(remote_fuse("fuse.sshfs"), Some("SSHFS"));
        assert_eq!(remote_fuse("fuse.glusterfs"), Some("GlusterFS"));
        for local in ["fuseblk", "fuse", "fuse.mergerfs", "fuse.gocryptfs", "virtiofs"] {
            assert_eq!(remote_fuse(local), None);
        }
    }
}
