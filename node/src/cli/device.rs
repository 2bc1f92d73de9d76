//! Devices as people name them.

use anyhow::bail;
use std::str::FromStr;
use tch::{Cuda, Device};

/// `cpu`, `cuda` (the first), `cuda:N`, or `none`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceName {
    /// The processor.
    Cpu,
    /// A CUDA device by number.
    Cuda(usize),
    /// Nothing: the node only adds up.
    None,
}

impl FromStr for DeviceName {
    type Err = String;

    fn from_str(name: &str) -> Result<DeviceName, String> {
        let number = name.strip_prefix("cuda:").and_then(|number| number.parse().ok());
        match (name, number) {
            ("cpu", _) => Ok(DeviceName::Cpu),
            ("none", _) => Ok(DeviceName::None),
            ("cuda", _) => Ok(DeviceName::Cuda(0)),
            (_, Some(number)) => Ok(DeviceName::Cuda(number)),
            _ => Err("write cpu, cuda:0 (or another number), or none".into()),
        }
    }
}

/// The devices named, checked; without names every CUDA device, or the processor if there is none.
pub fn all(names: &[DeviceName]) -> anyhow::Result<Vec<Device>> {
    let count = cuda_devices();
    if names.is_empty() {
        let every: Vec<Device> = (0..count).map(Device::Cuda).collect();
        return Ok(if every.is_empty() { vec![Device::Cpu] } else { every });
    }
    let devices: Vec<Option<Device>> =
        names.iter().map(|name| one(*name, count)).collect::<Result<_, _>>()?;
    Ok(devices.into_iter().flatten().collect())
}

/// The one device named, checked; without a name the first CUDA device, or the processor if there is none.
pub fn first(name: Option<DeviceName>) -> anyhow::Result<Device> {
    match all(name.as_slice())?.first() {
        Some(device) => Ok(*device),
        None => bail!("--device none computes nothing: give cpu or cuda:0"),
    }
}

fn one(name: DeviceName, count: usize) -> anyhow::Result<Option<Device>> {
    match name {
        DeviceName::None => Ok(None),
        DeviceName::Cpu => Ok(Some(Device::Cpu)),
        DeviceName::Cuda(number) if number < count => Ok(Some(Device::Cuda(number))),
        DeviceName::Cuda(number) if count == 0 => {
            bail!(
                "--device cuda:{number}: libtorch sees no CUDA device here; take --device cpu, or a libtorch built for CUDA"
            )
        }
        DeviceName::Cuda(number) => {
            bail!("--device cuda:{number}: this machine has cuda:0 to cuda:{}", count - 1)
        }
    }
}

fn cuda_devices() -> usize {
    if Cuda::is_available() { usize::try_from(Cuda::device_count()).unwrap_or(0) } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read() {
        let rows = [
            ("cpu", Some(DeviceName::Cpu)),
            ("cuda", Some(DeviceName::Cuda(0))),
            ("cuda:3", Some(DeviceName::Cuda(3))),
            ("none", Some(DeviceName::None)),
            ("cuda:x", None),
            ("gpu", None),
        ];
        for (name, expected) in rows {
            assert_eq!(name.parse().ok(), expected, "{name}");
        }
    }

    #[test]
    fn devices_are_checked() {
        let twice = [DeviceName::Cpu, DeviceName::None, DeviceName::Cpu];
        assert_eq!(all(&twice).unwrap(), [Device::Cpu, Device::Cpu]);
        assert!(all(&[DeviceName::Cuda(999)]).unwrap_err().to_string().contains("cuda:999"));
        assert!(first(Some(DeviceName::None)).is_err());
    }
}
