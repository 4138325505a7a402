// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <fcntl.h>
#include <linux/dm-ioctl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "dm.h"

/* MAPPER_CTRL_MINOR of misc devices, in the kernel's Documentation/admin-guide/devices.txt. */
enum { MISC_MAJOR = 10, CONTROL_MINOR = 236 };

/* In a folder that nobody else can enter, and gone again before anybody could look for it. */
static int open_own_node(void)
{
	char folder[] = "/dev/zwb-dm-XXXXXX", node[sizeof(folder) + 2];
	int fd = -1, kept;

	if (!mkdtemp(folder))
		return -1;
	snprintf(node, sizeof(node), "%s/c", folder);
	if (!mknod(node, S_IFCHR | 0600, makedev(MISC_MAJOR, CONTROL_MINOR)))
		fd = open(node, O_RDWR | O_CLOEXEC);
	kept = errno;
	unlink(node);
	rmdir(folder);
	errno = kept;
	return fd;
}

int dm_control(void)
{
	static const char *const nodes[] = { "/dev/device-mapper", "/dev/mapper/control" };

	for (size_t i = 0; i < COUNT(nodes); i++) {
		int fd = open(nodes[i], O_RDWR | O_CLOEXEC);

		if (fd >= 0 || errno != ENOENT)
			return fd;
	}
	return open_own_node();
}

/* The kernel takes any minor version that is not newer than its own. */
static void prepare(struct dm_ioctl *io, size_t bytes, const char *name)
{
	memset(io, 0, bytes);
	io->version[0] = DM_VERSION_MAJOR;
	io->data_size = (uint32_t)bytes;
	io->data_start = sizeof(*io);
	if (name)
		snprintf(io->name, sizeof(io->name), "%s", name);
}

static uint64_t encode(struct dm_number number)
{
	return (number.minor & 0xff) | number.major << 8 | (uint64_t)(number.minor & ~0xffu) << 12;
}

static struct dm_number decode(uint64_t dev)
{
	return (struct dm_number){ dev >> 8 & 0xfff, (unsigned int)((dev & 0xff) | (dev >> 12 & 0xfff00)) };
}

static int load(int control, const char *name, const struct dm_line *lines, size_t count)
{
	const size_t each = sizeof(struct dm_target_spec) + DM_PARAMS, bytes = sizeof(struct dm_ioctl) + count * each;
	struct dm_ioctl *io = malloc(bytes);
	int failed;

	if (!io)
		return -1;
	prepare(io, bytes, name);
	io->target_count = (uint32_t)count;
	for (size_t i = 0; i < count; i++) {
		struct dm_target_spec *spec = (void *)((char *)io + io->data_start + i * each);

		spec->sector_start = lines[i].start;
		spec->length = lines[i].sectors;
		spec->next = (uint32_t)each;
		snprintf(spec->target_type, sizeof(spec->target_type), "%s", lines[i].type);
		snprintf((char *)(spec + 1), DM_PARAMS, "%s", lines[i].params);
	}
	failed = ioctl(control, DM_TABLE_LOAD, io);
	free(io);
	return failed;
}

int dm_make(int control, const char *name, const struct dm_line *lines, size_t count, struct dm_number *made,
	    const char **step)
{
	struct dm_ioctl io;
	int kept;

	prepare(&io, sizeof(io), name);
	*step = "DM_DEV_CREATE";
	if (ioctl(control, DM_DEV_CREATE, &io))
		return -1;
	*made = decode(io.dev);
	*step = "DM_TABLE_LOAD";
	if (!load(control, name, lines, count)) {
		prepare(&io, sizeof(io), name);
		/* Without DM_SUSPEND_FLAG it resumes: the loaded table becomes the live one. */
		*step = "DM_DEV_SUSPEND";
		if (!ioctl(control, DM_DEV_SUSPEND, &io))
			return 0;
	}
	kept = errno;
	dm_remove(control, name);
	errno = kept;
	return -1;
}

int dm_remove(int control, const char *name)
{
	struct dm_ioctl io;

	prepare(&io, sizeof(io), name);
	return ioctl(control, DM_DEV_REMOVE, &io);
}

int dm_find(int control, const char *name, struct dm_number *found)
{
	struct dm_ioctl io;

	prepare(&io, sizeof(io), name);
	if (ioctl(control, DM_DEV_STATUS, &io))
		return -1;
	*found = decode(io.dev);
	return 0;
}

int dm_first_line(int control, struct dm_number device, struct dm_line *line)
{
	union {
		struct dm_ioctl io;
		char room[sizeof(struct dm_ioctl) + sizeof(struct dm_target_spec) + DM_PARAMS];
	} answer;
	const struct dm_target_spec *spec;

	prepare(&answer.io, sizeof(answer), NULL);
	answer.io.dev = encode(device);
	answer.io.flags = DM_STATUS_TABLE_FLAG;
	if (ioctl(control, DM_TABLE_STATUS, &answer.io))
		return -1;
	/* With more lines than there is room for, only their number is told. */
	memset(line, 0, sizeof(*line));
	if (answer.io.target_count != 1)
		return (int)answer.io.target_count;
	if (answer.io.flags & DM_BUFFER_FULL_FLAG) {
		errno = E2BIG;
		return -1;
	}
	spec = (const void *)(answer.room + answer.io.data_start);
	line->start = spec->sector_start;
	line->sectors = spec->length;
	snprintf(line->type, sizeof(line->type), "%s", spec->target_type);
	snprintf(line->params, sizeof(line->params), "%s", (const char *)(spec + 1));
	return 1;
}
