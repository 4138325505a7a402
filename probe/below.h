/* SPDX-License-Identifier: Apache-2.0 */
/* What lies below a device of the device mapper. */
#ifndef PROBE_BELOW_H
#define PROBE_BELOW_H

#include "dm.h"
#include "probe.h"

/* What a device's one line says: sector s of it is sector s + offset below. */
struct below {
	struct dm_number device;
	uint64_t offset;
	uint64_t sectors;
	bool encrypted;
	char type[16];
};

bool is_mapped(struct dm_number device);
/* Refused where the layer may move sectors, or is not known to leave them in order. */
int below_find(int control, struct dm_number device, struct below *below, struct reply *rep);

#endif
