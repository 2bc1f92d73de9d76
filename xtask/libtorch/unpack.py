"""Unpacks the part of libtorch that a program without a GPU needs.

usage: python unpack.py WHEELS DEST

Reads the wheels in the folder WHEELS and writes DEST/include and DEST/lib, member by member.
"""

import pathlib
import shutil
import sys
import zipfile

# Of no use without a GPU or Python, and the larger half of the wheel. libtorch.so only ties the others together,
# the CUDA part included: a linker script stands in for it.
NOT_NEEDED = ("cuda", "nvrtc", "nvshmem", "python", "libshm", "global_deps", "libtorch.so")
CUDA_RUNTIME = ("libcudart.so", "libcupti.so")


def wanted(member):
    """The member's path under DEST, or None."""
    package, _, rest = member.partition("/")
    name = rest.rpartition("/")[2]
    if package == "torch" and rest.startswith("include/"):
        return rest
    if package == "torch" and rest.startswith("lib/") and ".so" in name:
        return None if any(part in rest for part in NOT_NEEDED) else "lib/" + name
    if package == "nvidia" and name.startswith(CUDA_RUNTIME):
        return "lib/" + name
    return None


def unpack(wheel, dest):
    with zipfile.ZipFile(wheel) as archive:
        for info in archive.infolist():
            path = None if info.is_dir() else wanted(info.filename)
            if path is None:
                continue
            target = dest / path
            target.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(info) as source, open(target, "wb") as sink:
                shutil.copyfileobj(source, sink, 1 << 20)


def main():
    wheels, dest = map(pathlib.Path, sys.argv[1:])
    for wheel in sorted(wheels.glob("*.whl")):
        unpack(wheel, dest)
    (dest / "lib" / "libtorch.so").write_text("INPUT(libtorch_cpu.so)\n")


main()
