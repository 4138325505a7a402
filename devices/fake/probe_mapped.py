"""The fake probe's view of mapped devices: /data lies on one over a partition."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from devices.fake.probe_grammar import Call, ProbeRefusal

if TYPE_CHECKING:
    from devices.fake.phone import FakePhone

Fields = dict[str, Any]
# What /data is mounted from, and what that one lies on.
DATA, PARTITION = "254:0", "8:10"


class ProbeMapped:
    """Commands on the device mapper."""

    def __init__(self, phone: FakePhone) -> None:
        self.phone = phone
        self.commands = {"dm-below": self._below}

    def _below(self, call: Call) -> Fields:
        if not re.match(r"\d+:\d+", call.text("dev")):
            raise ProbeRefusal("", f"dev={call.text('dev')}: expected MAJOR:MINOR")
        if call.text("dev") != DATA:
            raise ProbeRefusal("ENXIO", f"the table of the mapped device {call.text('dev')}")
        return {"type": "linear", "below": PARTITION, "offset": 0}
