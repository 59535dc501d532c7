//! File systems made for one run, and gone with what made them.

use std::path::{Path, PathBuf};
use std::process::Command;

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Why a part that needs these cannot run here.
pub(crate) fn missing(tools: &[&str]) -> Option<String> {
    if !is_root() {
        return Some("it needs root, to mount file systems".to_owned());
    }
    let is_there = |tool: &&&str| {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let mut folders = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
        folders.any(|folder| folder.join(tool).is_file())
    };
    let missing: Vec<&str> = tools.iter().filter(|tool| !is_there(tool)).copied().collect();
    (!missing.is_empty()).then(|| format!("it needs {}", missing.join(", ")))
}

/// Runs a tool of the system; what it said when it failed.
pub(crate) fn tool(name: &str, arguments: &[&str]) -> Result<(), String> {
    let output = Command::new(name)
        .args(arguments)
        .output()
        .map_err(|error| format!("{name} cannot be started: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("{name} {}: {}", arguments.join(" "), said.trim()))
}

/// A mounted file system.
pub(crate) struct Mount {
    point: PathBuf,
    mounted: bool,
}

impl Mount {
    /// Room in memory of exactly this size.
    pub(crate) fn tmpfs(point: &Path, size: &str) -> Result<Self, String> {
        let options = format!("size={size},mode=750");
        Self::mount(point, &["-t", "tmpfs", "-o", &options, "tmpfs"])
    }

    /// A new ext4 in a file.
    pub(crate) fn new_ext4(image: &Path, point: &Path, bytes: u64) -> Result<Self, String> {
        std::fs::File::create(image).and_then(|file| file.set_len(bytes)).unwrap();
        tool("mkfs.ext4", &["-q", "-F", "-m", "0", image.to_str().unwrap()])?;
        Self::ext4(image, point)
    }

    /// The ext4 that a file holds; what its journal has is replayed.
    pub(crate) fn ext4(image: &Path, point: &Path) -> Result<Self, String> {
        let options = ["-t", "ext4", "-o", "loop,errors=remount-ro", image.to_str().unwrap()];
        Self::mount(point, &options)
    }

    fn mount(point: &Path, arguments: &[&str]) -> Result<Self, String> {
        std::fs::create_dir_all(point).unwrap();
        let mut arguments = arguments.to_vec();
        arguments.push(point.to_str().unwrap());
        tool("mount", &arguments)?;
        Ok(Self { point: point.to_owned(), mounted: true })
    }

    pub(crate) fn remount(&self, options: &str) -> Result<(), String> {
        let options = format!("remount,{options}");
        tool("mount", &["-o", &options, self.point.to_str().unwrap()])
    }

    /// The device that is mounted.
    pub(crate) fn device(&self) -> String {
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
        let point = self.point.to_str().unwrap();
        let line = mounts.lines().rev().find(|line| line.split(' ').nth(1) == Some(point));
        line.unwrap().split(' ').next().unwrap().to_owned()
    }

    pub(crate) fn unmount(mut self) -> Result<(), String> {
        self.mounted = false;
        let result = tool("umount", &[self.point.to_str().unwrap()]);
        if result.is_err() {
            let _ = tool("umount", &["-l", self.point.to_str().unwrap()]);
        }
        result
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        if self.mounted {
            let _ = tool("umount", &["-l", self.point.to_str().unwrap()]);
        }
    }
}
