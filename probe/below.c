// SPDX-License-Identifier: Apache-2.0
/* Looks through layers of the device mapper that leave sectors in order: dm-linear, and Android's dm-default-key. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "below.h"

bool is_mapped(struct dm_number device)
{
	char path[64];

	snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/dm", device.major, device.minor);
	return !access(path, F_OK);
}

int below_find(int control, struct dm_number device, struct below *below, struct reply *rep)
{
	struct dm_number *lower = &below->device;
	struct dm_line line;
	int lines = dm_first_line(control, device, &line), read = 0;
	unsigned long long offset = 0;

	if (lines < 0)
		return reply_fail(rep, errno, "the table of the mapped device %u:%u", device.major, device.minor);
	if (lines != 1)
		return reply_fail(rep, 0, "the mapped device %u:%u consists of %d pieces", device.major, device.minor,
				  lines);
	below->encrypted = !strcmp(line.type, "default-key");
	if (!strcmp(line.type, "linear"))
		read = sscanf(line.params, "%u:%u %llu", &lower->major, &lower->minor, &offset);
	else if (below->encrypted)
		/* cipher, "-" in place of the key, the first sector's number, device, offset, options */
		read = sscanf(line.params, "%*s %*s %*s %u:%u %llu", &lower->major, &lower->minor, &offset);
	if (read != 3)
		return reply_fail(rep, 0, "the mapped device %u:%u is a %s, which may move sectors", device.major,
				  device.minor, line.type);
	below->offset = offset;
	below->sectors = line.sectors;
	snprintf(below->type, sizeof(below->type), "%s", line.type);
	return 0;
}

int cmd_dm_below(const struct request *req, struct reply *rep)
{
	SCOPED_FD control = dm_control();
	struct below below;
	struct dm_number device;
	char number[32];

	if (sscanf(arg_text(req, "dev", ""), "%u:%u", &device.major, &device.minor) != 2)
		return reply_fail(rep, 0, "dev=%s: expected MAJOR:MINOR", arg_text(req, "dev", ""));
	if (control < 0)
		return reply_fail(rep, errno, "open the device mapper");
	if (below_find(control, device, &below, rep))
		return -1;
	snprintf(number, sizeof(number), "%u:%u", below.device.major, below.device.minor);
	reply_text(rep, "type", below.type);
	reply_text(rep, "below", number);
	reply_u64(rep, "offset", below.offset);
	return 0;
}
