/* SPDX-License-Identifier: Apache-2.0 */
/* Devices of the device mapper that the probe makes, and the proof that one is the file that it is to be. */
#ifndef PROBE_MAPPED_H
#define PROBE_MAPPED_H

#include "backing.h"
#include "dm.h"
#include "extents.h"

enum { MAPPED_NAME = 64, MAPPED_BLOCK = 4096 };

struct mapping {
	const struct backing *backing;
	const struct extents *extents;
	uint64_t size;
	bool encrypted; /* below the file system: what is read at the device is not what was written to the file */
	int fd; /* the device, past the page cache */
	uint64_t verified;
};

/* Opens the node of a device, once it is there; its name is left in node. */
int mapped_node(struct dm_number device, char node[MAPPED_NAME], int flags, struct reply *rep);
/* May be repeated; *removed is false when there was none. */
int mapped_remove(int control, const char *name, bool *removed, struct reply *rep);
/* Writes through the file and reads at the device; refused unless each piece of the file is where it should be. */
int mapping_verify(struct mapping *mapping, struct reply *rep);

#endif
