// SPDX-License-Identifier: Apache-2.0
// mmd: writes zram0's idle pages back and marks what is left as idle, every persist.lab.mmd_period_s seconds. It runs
// when persist.lab.mmd is 1 at boot, or after `start mmd`: another writer, which a measurement must find and stop.
#include "text.h"

#define PERIOD "/dev/__properties__/system/persist.lab.mmd_period_s"
#define ZRAM "/sys/block/zram0/"

enum { PERIOD_S = 60 };

_Noreturn void start(int argc, char **argv, char **environment)
{
	(void)argc, (void)argv, (void)environment;
	for (;;) {
		char value[256];
		long seconds = read_file(PERIOD, value, sizeof value) > 1 ? leading_number(value) : PERIOD_S;
		long pause[2] = { seconds, 0 };
		KERNEL(SYS_nanosleep, pause, 0, 0);
		if (read_file(ZRAM "backing_dev", value, sizeof value) < 1 || find(value, "none") == value)
			continue;
		write_file(ZRAM "writeback", "idle");
		write_file(ZRAM "idle", "all");
	}
}
