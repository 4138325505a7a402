/* SPDX-License-Identifier: Apache-2.0 */
/* The device mapper by its ioctls, for phones without dmsetup; the virtual phone's dmctl needs it as well. */
#ifndef PROBE_DM_H
#define PROBE_DM_H

#include <stddef.h>

#include "basics.h"

enum { DM_PARAMS = 512 };

/* One line of a table, in sectors of 512 bytes. */
struct dm_line {
	uint64_t start;
	uint64_t sectors;
	char type[16];
	char params[DM_PARAMS];
};

struct dm_number {
	unsigned int major;
	unsigned int minor;
};

/* The control node, also where nobody made one; -1 with errno. All calls below return -1 with errno when refused. */
int dm_control(void);
/* Makes and starts a device; nothing is left of one that fails, and *step is the call that failed. */
int dm_make(int control, const char *name, const struct dm_line *lines, size_t count, struct dm_number *made,
	    const char **step);
/* ENXIO: there is none of that name; EBUSY: somebody has it open. */
int dm_remove(int control, const char *name);
int dm_find(int control, const char *name, struct dm_number *found);
/* The first line of a device's table; returns how many lines it has. */
int dm_first_line(int control, struct dm_number device, struct dm_line *line);

#endif
