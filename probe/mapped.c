// SPDX-License-Identifier: Apache-2.0
/*
 * A backing file without a loop device: a dm-linear device over the file's own blocks, beside the file system. The
 * kernel allows it where the file system itself lies on a mapped device, because the device mapper shares its claims.
 * Writes go past the file system and past metadata encryption, so only pages that nobody needs may go there, and only
 * into blocks that the file system does not move.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "backing.h"
#include "below.h"
#include "extents.h"
#include "mapped.h"

/* uapi/linux/magic.h */
#define F2FS_MAGIC 0xf2f52010u
#define EXT4_MAGIC 0xef53u

enum {
	SECTOR = 512,
	/* Partition on device mapper on device mapper is the most that phones have. */
	DEEPEST = 6,
	PIECES_MAX = 4096,
	NODE_WAIT_MS = 2000,
	REMOVE_WAIT_MS = 2000,
	PAUSE_MS = 20,
};

/* What tells that a block holds something else than the file's own bytes, or that it has no place of its own yet. */
#define NOT_ITS_OWN                                                                                              \
	(FIEMAP_EXTENT_UNKNOWN | FIEMAP_EXTENT_DELALLOC | FIEMAP_EXTENT_ENCODED | FIEMAP_EXTENT_DATA_ENCRYPTED | \
	 FIEMAP_EXTENT_NOT_ALIGNED | FIEMAP_EXTENT_DATA_INLINE | FIEMAP_EXTENT_DATA_TAIL | FIEMAP_EXTENT_SHARED)

/* The same file has the same device also after the file is gone. FNV-1a. */
static void name_of(const char *path, char name[MAPPED_NAME])
{
	uint64_t hash = 0xcbf29ce484222325;

	for (; *path; path++)
		hash = (hash ^ (unsigned char)*path) * 0x100000001b3;
	snprintf(name, MAPPED_NAME, "zwb-%016llx", (unsigned long long)hash);
}

static int check_file_system(struct backing *backing, struct reply *rep)
{
	struct statfs fs;

	if (fstatfs(backing->fd, &fs))
		return reply_fail(rep, errno, "%s", backing->path);
	backing->pin = (uint32_t)fs.f_type == F2FS_MAGIC;
	if (backing->pin || (uint32_t)fs.f_type == EXT4_MAGIC)
		return 0;
	return reply_fail(rep, EOPNOTSUPP, "%s: this file system (0x%x) may move blocks; F2FS can pin, ext4 does not",
			  backing->path, (unsigned int)fs.f_type);
}

/* After the file was shaped: all that says that its blocks are not, or do not stay, its own. */
static int check_file(const struct backing *backing, const struct extents *extents, uint64_t size, struct reply *rep)
{
	const struct extent *extent = extents_of(extents);
	uint32_t bad = NOT_ITS_OWN | (backing->pin ? FIEMAP_EXTENT_UNWRITTEN : 0);
	uint64_t end = 0;
	int flags = 0;

	if (ioctl(backing->fd, FS_IOC_GETFLAGS, &flags))
		return reply_fail(rep, errno, "flags of %s", backing->path);
	if (backing->pin && !(flags & FS_NOCOW_FL))
		return reply_fail(rep, backing->pin_errno ? backing->pin_errno : EOPNOTSUPP,
				  "%s: not pinned, F2FS may move its blocks", backing->path);
	if (flags & (FS_COMPR_FL | FS_ENCRYPT_FL | FS_INLINE_DATA_FL))
		return reply_fail(rep, EOPNOTSUPP,
				  "%s: compressed, encrypted by its file system or inline (flags 0x%x)", backing->path,
				  (unsigned int)flags);
	if (extents->flags & bad)
		return reply_fail(rep, EOPNOTSUPP, "%s: its blocks are not its own and final (extent flags 0x%x)",
				  backing->path, extents->flags);
	for (size_t i = 0; i < extents->count && end < size; i++, extent++) {
		if (extent->logical != end || (extent->physical | extent->bytes) % MAPPED_BLOCK)
			break;
		end += extent->bytes;
	}
	if (end < size)
		return reply_fail(rep, 0, "%s: only its first %llu bytes are whole blocks without a gap", backing->path,
				  (unsigned long long)end);
	return 0;
}

/* The device that holds the file system's blocks, below all mapped ones. */
static int find_ground(int control, const struct backing *backing, const struct extents *extents, struct below *ground,
		       struct reply *rep)
{
	struct below below;
	struct stat st;
	const struct extent *extent = extents_of(extents);
	int depth = 0;

	if (fstat(backing->fd, &st))
		return reply_fail(rep, errno, "%s", backing->path);
	*ground = (struct below){ .device = { major(st.st_dev), minor(st.st_dev) }, .sectors = UINT64_MAX / 2 };
	for (; is_mapped(ground->device); depth++) {
		if (depth == DEEPEST || below_find(control, ground->device, &below, rep))
			return reply_fail(rep, 0, "%d mapped devices above each other", depth);
		if (!depth)
			ground->sectors = below.sectors;
		ground->device = below.device;
		ground->offset += below.offset;
		ground->encrypted |= below.encrypted;
		snprintf(ground->type, sizeof(ground->type), "%s", below.type);
	}
	if (!depth)
		return reply_fail(
			rep, EBUSY,
			"%s: its file system is mounted from %u:%u directly, which lets nobody else in; below "
			"a mapped device (metadata encryption) it would",
			backing->path, ground->device.major, ground->device.minor);
	for (size_t i = 0; i < extents->count; i++, extent++)
		if ((extent->physical + extent->bytes) / SECTOR > ground->sectors)
			return reply_fail(rep, 0, "%s: lies on more than one device", backing->path);
	return 0;
}

static int make(int control, const char *name, const struct extents *extents, uint64_t size, const struct below *ground,
		struct dm_number *made, struct reply *rep)
{
	SCOPED_BUFFER room = { 0 };
	const struct extent *extent = extents_of(extents);
	const char *step = "";
	struct dm_line *line;
	size_t count = 0;

	if (extents->count > PIECES_MAX)
		return reply_fail(rep, 0, "in %zu pieces, at most %d can be mapped", extents->count, PIECES_MAX);
	if (buffer_make(&room, extents->count, sizeof(*line), rep))
		return -1;
	line = room.data;
	for (; count < extents->count && extent->logical < size; count++, extent++, line++) {
		uint64_t bytes = extent->logical + extent->bytes > size ? size - extent->logical : extent->bytes;

		*line = (struct dm_line){ extent->logical / SECTOR, bytes / SECTOR, "linear", "" };
		snprintf(line->params, sizeof(line->params), "%u:%u %llu", ground->device.major, ground->device.minor,
			 (unsigned long long)(ground->offset + extent->physical / SECTOR));
	}
	if (dm_make(control, name, room.data, count, made, &step))
		return reply_fail(rep, errno, "%s for %u:%u", step, ground->device.major, ground->device.minor);
	return 0;
}

int mapped_node(struct dm_number device, char node[MAPPED_NAME], int flags, struct reply *rep)
{
	int fd;

	/* ueventd makes the node some time after the kernel made the device. */
	for (int waited = 0;; waited += PAUSE_MS) {
		snprintf(node, MAPPED_NAME, "/dev/block/dm-%u", device.minor);
		fd = open(node, flags | O_CLOEXEC);
		if (fd >= 0 || errno != ENOENT)
			break;
		snprintf(node, MAPPED_NAME, "/dev/dm-%u", device.minor);
		fd = open(node, flags | O_CLOEXEC);
		if (fd >= 0 || errno != ENOENT || waited >= NODE_WAIT_MS)
			break;
		sleep_ms(PAUSE_MS);
	}
	return fd < 0 ? reply_fail(rep, errno, "open %s", node) : fd;
}

int mapped_remove(int control, const char *name, bool *removed, struct reply *rep)
{
	*removed = true;
	/* Whoever looks at a new device, as ueventd and vold do, has it open for a moment. */
	for (int waited = 0; dm_remove(control, name); waited += PAUSE_MS) {
		*removed = false;
		if (errno == ENXIO)
			return 0;
		if (errno != EBUSY || waited >= REMOVE_WAIT_MS)
			return reply_fail(rep, errno, "remove the mapped device %s", name);
		*removed = true;
		sleep_ms(PAUSE_MS);
	}
	return 0;
}

/* With 1 the device could not be removed again: the file's blocks must stay the file's. */
static int attach(int control, const char *name, struct backing *backing, uint64_t size, struct reply *rep)
{
	SCOPED_EXTENTS extents = { 0 };
	struct mapping mapping = { .backing = backing, .extents = &extents, .size = size };
	struct dm_number made;
	struct below ground;
	char node[MAPPED_NAME], below[32];
	bool removed;

	if (check_file_system(backing, rep) || backing_shape(backing, (off_t)size, true, rep))
		return -1;
	if (fsync(backing->fd))
		return reply_fail(rep, errno, "fsync %s", backing->path);
	if (extents_ask(&extents, backing->fd, backing->path, rep) || check_file(backing, &extents, size, rep) ||
	    find_ground(control, backing, &extents, &ground, rep) ||
	    make(control, name, &extents, size, &ground, &made, rep))
		return -1;
	mapping.fd = mapped_node(made, node, O_RDONLY | O_DIRECT, rep);
	mapping.encrypted = ground.encrypted;
	if (mapping.fd >= 0 && !mapping_verify(&mapping, rep) && !backing_read_back(backing, rep)) {
		close_scoped(&mapping.fd);
		snprintf(below, sizeof(below), "%u:%u", ground.device.major, ground.device.minor);
		reply_text(rep, "node", node);
		reply_text(rep, "below", below);
		reply_text(rep, "through", ground.type);
		reply_u64(rep, "extents", extents.count);
		reply_u64(rep, "verified", mapping.verified);
		return 0;
	}
	close_scoped(&mapping.fd);
	return mapped_remove(control, name, &removed, rep) ? 1 : -1;
}

int cmd_mapped_attach(const struct request *req, struct reply *rep)
{
	__attribute__((cleanup(backing_close))) struct backing backing = { .fd = -1 };
	uint64_t size = arg_number(req, "size", 0);
	char path[PATH_BYTES], name[MAPPED_NAME];
	SCOPED_FD control = -1;
	struct dm_number found;

	if (!size || size % MAPPED_BLOCK || size > INT64_MAX)
		return reply_fail(rep, 0, "size=%llu: expected a multiple of %d", (unsigned long long)size,
				  MAPPED_BLOCK);
	if (backing_resolve(arg_text(req, "file", ""), path, rep))
		return -1;
	control = dm_control();
	if (control < 0)
		return reply_fail(rep, errno, "open the device mapper");
	name_of(path, name);
	if (!dm_find(control, name, &found))
		return reply_fail(rep, EBUSY, "%s is mapped already, as dm-%u", path, found.minor);
	backing.path = path;
	if (backing_open(&backing, rep))
		return -1;
	if (!backing.created)
		return reply_fail(rep, EEXIST, "%s", path);
	switch (attach(control, name, &backing, size, rep)) {
	case 0:
		return 0;
	case 1:
		return -1;
	}
	backing_undo(&backing);
	return -1;
}

int cmd_mapped_detach(const struct request *req, struct reply *rep)
{
	char path[PATH_BYTES], name[MAPPED_NAME];
	SCOPED_FD control = -1;
	bool detached = false, removed = false;

	if (backing_resolve(arg_text(req, "file", ""), path, rep))
		return -1;
	control = dm_control();
	name_of(path, name);
	/* Without a device mapper nothing was mapped. */
	if (control < 0 && errno != ENODEV && errno != ENXIO)
		return reply_fail(rep, errno, "open the device mapper");
	/* First the device: as long as it is there, the blocks must not become free for other files. */
	if (control >= 0 && mapped_remove(control, name, &detached, rep))
		return -1;
	if (arg_number(req, "remove", 0)) {
		removed = !unlink(path);
		if (!removed && errno != ENOENT)
			return reply_fail(rep, errno, "remove %s", path);
	}
	reply_u64(rep, "detached", detached);
	reply_u64(rep, "removed", removed);
	return 0;
}
