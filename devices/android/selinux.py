"""SELinux made permissive for a run, where a profile asks for it.

On some phones the policy keeps the kernel, which does a loop device's I/O, from every file that a run could use.
"""

from __future__ import annotations

from dataclasses import replace

from base.errors import EnvironmentRefused
from devices.device import Changes
from devices.journal import Expect, Undo
from devices.transport import Exec

_ASK = ("getenforce",)


def make_permissive(changes: Changes) -> None:
    """Permissive until the scope is left; nothing is done where it does not enforce. Raises EnvironmentRefused."""
    device = changes.device
    if device.execute(Exec(_ASK), keep_going=True)[0].text.strip() != "Enforcing":
        return
    again = Exec(("setenforce", "1"))
    changes.will_undo(Undo("SELinux enforcing", (again,), (Expect(argv=_ASK, value="Enforcing"),)))
    done, seen = device.execute(Exec(("setenforce", "0")), Exec(_ASK), keep_going=True)
    if seen.text.strip() != "Permissive":
        raise EnvironmentRefused(
            f"{device.serial}: SELinux stays enforcing: {done.stderr.strip() or seen.text.strip()}",
            hint="this kernel does not let it be switched; leave `selinux: permissive` out of the profile, and name a "
            "backing file or partition that the kernel may use",
        )
    device.identity = replace(device.identity, selinux="Permissive")
