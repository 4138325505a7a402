// SPDX-License-Identifier: Apache-2.0
/*
 * mmd: writes zram0's idle pages back and marks what is left as idle, every persist.lab.mmd_period_s seconds. It runs
 * when persist.lab.mmd is 1 at boot, or after `start mmd`: another writer, which a measurement must find and stop.
 */
#include <stdlib.h>
#include <unistd.h>

#include "guest.h"

#define PERIOD "/dev/__properties__/system/persist.lab.mmd_period_s"
#define ZRAM "/sys/block/zram0/"

enum { PERIOD_S = 60 };

int main(void)
{
	for (;;) {
		char value[256];
		int seconds = read_file(PERIOD, value, sizeof(value)) > 1 ? atoi(value) : PERIOD_S;

		sleep(seconds > 0 ? (unsigned int)seconds : 0);
		if (read_file(ZRAM "backing_dev", value, sizeof(value)) < 1 || begins_with(value, "none"))
			continue;
		write_text(ZRAM "writeback", "idle");
		write_text(ZRAM "idle", "all");
	}
}
