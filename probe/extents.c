// SPDX-License-Identifier: Apache-2.0
/* Where a file lies on its disk, so that a request at a loop device can be found again below it. */
#include <errno.h>
#include <fcntl.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "extents.h"

enum {
	AT_ONCE = 256,
	EXTENTS_MAX = 1 << 16,
};

const struct extent *extents_of(const struct extents *extents)
{
	return extents->room.data;
}

bool extents_place(const struct extents *extents, uint64_t logical, uint64_t *physical)
{
	const struct extent *extent = extents_of(extents);

	for (size_t i = 0; i < extents->count; i++, extent++) {
		if (logical - extent->logical >= extent->bytes)
			continue;
		*physical = extent->physical + (logical - extent->logical);
		return true;
	}
	return false;
}

void extents_free(struct extents *extents)
{
	buffer_free(&extents->room);
}

/* One call's worth of extents from a place in the file on; returns how many, or -1 with errno. */
static int ask(int fd, uint64_t from, struct fiemap *map, struct extent *out, uint32_t *flags)
{
	*map = (struct fiemap){ .fm_start = from,
				.fm_length = FIEMAP_MAX_OFFSET - from,
				.fm_flags = FIEMAP_FLAG_SYNC,
				.fm_extent_count = AT_ONCE };
	if (ioctl(fd, FS_IOC_FIEMAP, map))
		return -1;
	for (uint32_t i = 0; i < map->fm_mapped_extents; i++) {
		const struct fiemap_extent *extent = &map->fm_extents[i];

		out[i] = (struct extent){ extent->fe_logical, extent->fe_physical, extent->fe_length };
		*flags |= extent->fe_flags;
	}
	return (int)map->fm_mapped_extents;
}

int extents_ask(struct extents *extents, int fd, const char *path, struct reply *rep)
{
	SCOPED_BUFFER map = { 0 };
	struct extent *extent;
	uint64_t from = 0;

	extents->count = 0;
	extents->flags = 0;
	if (buffer_make(&map, 1, sizeof(struct fiemap) + AT_ONCE * sizeof(struct fiemap_extent), rep) ||
	    buffer_make(&extents->room, EXTENTS_MAX, sizeof(*extent), rep))
		return -1;
	extent = extents->room.data;
	while (!(extents->flags & FIEMAP_EXTENT_LAST)) {
		int got;

		if (extents->count + AT_ONCE > EXTENTS_MAX)
			return reply_fail(rep, 0, "%s: in more than %d pieces", path, EXTENTS_MAX);
		got = ask(fd, from, map.data, extent + extents->count, &extents->flags);
		if (got < 0)
			return reply_fail(rep, errno, "FS_IOC_FIEMAP %s", path);
		if (!got)
			break;
		extents->count += (size_t)got;
		from = extent[extents->count - 1].logical + extent[extents->count - 1].bytes;
	}
	extents->flags &= ~(uint32_t)FIEMAP_EXTENT_LAST;
	return 0;
}

int cmd_extents(const struct request *req, struct reply *rep)
{
	const char *path = arg_text(req, "file", "");
	SCOPED_FD fd = open(path, O_RDONLY | O_CLOEXEC);
	SCOPED_EXTENTS extents = { 0 };

	if (fd < 0)
		return reply_fail(rep, errno, "open %s", path);
	if (extents_ask(&extents, fd, path, rep))
		return -1;
	reply_u64(rep, "extents", extents.count);
	return write_out(arg_text(req, "out", ""), extents.room.data, extents.count * sizeof(struct extent), rep);
}
