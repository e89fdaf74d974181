//! What is mounted in a container.

use crate::cli::CommandError;
use crate::engine::{Bytes, EngineError, Mount, MountError, Settings, VolumesFrom};

/// What is mounted in a container
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Mounts")]
pub(super) struct MountOptions {
    /// Mount a path of the host, or a volume by name: [SOURCE:]DESTINATION[:OPTIONS]; a missing directory or
    /// volume is created. Options are ro, nocopy for a volume, and for a path of the host whether later mounts
    /// below it are seen: rprivate (no, the default), rslave (in the container), rshared (on both sides). May
    /// be given more than once
    #[arg(long = "volume", short, value_name = "MOUNT", value_parser = volume)]
    volumes: Vec<Mount>,
    /// Mount something, in long form: type=bind|volume|tmpfs|image,source=…,target=…[,readonly]
    /// [,bind-propagation=…][,volume-subpath=…][,image-subpath=…]; the source of a bind must exist; may be given more than once
    #[arg(long = "mount", value_name = "KEY=VALUE,…", value_parser = Mount::from_mount_option)]
    mounts: Vec<Mount>,
    /// Mount an empty file system in memory: DESTINATION[:size=…,mode=…,exec]; may be given more than once
    #[arg(long = "tmpfs", value_name = "MOUNT", value_parser = Mount::from_tmpfs_option)]
    tmpfs: Vec<Mount>,
    /// Mount the volumes and paths that another container has: CONTAINER[:ro]; may be given more than once
    #[arg(long, value_name = "CONTAINER")]
    volumes_from: Vec<VolumesFrom>,
    /// The size of /dev/shm, such as 256m (default: 64m)
    #[arg(long, value_name = "SIZE")]
    shm_size: Option<Bytes>,
}

fn volume(text: &str) -> Result<Mount, String> {
    let directory = std::env::current_dir().map_err(|error| format!("no current directory: {error}"))?;
    Mount::from_volume_option(text, &directory).map_err(|error: MountError| crate::engine::one_line(&error))
}

impl MountOptions {
    /// Fills in this group's part.
    pub(super) fn apply(self, settings: &mut Settings) -> Result<(), CommandError> {
        // The very same once more says nothing new, as with Docker.
        let mut volumes: Vec<Mount> = Vec::new();
        for mount in self.volumes {
            if !volumes.contains(&mount) {
                volumes.push(mount);
            }
        }
        settings.mounts = [volumes, self.mounts, self.tmpfs].concat();
        settings.volumes_from = self.volumes_from;
        settings.shm_size = self.shm_size;
        if settings.shm_size == Some(Bytes(0)) {
            // The kernel takes it for no limit at all.
            let (option, other) = ("--shm-size 0".to_owned(), "/dev/shm".to_owned());
            return Err(EngineError::Conflict { option, other }.into());
        }
        Ok(())
    }
}
