// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "backing.h"

/* uapi/linux/f2fs.h and uapi/linux/magic.h */
#define F2FS_IOC_SET_PIN_FILE _IOW(0xf5, 13, uint32_t)
#define F2FS_MAGIC 0xf2f52010u

int backing_resolve(const char *file, char path[PATH_BYTES], struct reply *rep)
{
	const char *slash = strrchr(file, '/');
	char dir[PATH_BYTES], parent[4096];

	if (*file != '/' || !slash[1] || strlen(file) >= PATH_BYTES)
		return reply_fail(rep, 0, "file=%s: expected an absolute path of less than %d bytes", file, PATH_BYTES);
	snprintf(dir, sizeof(dir), "%.*s", (int)(slash - file + 1), file);
	if (!realpath(dir, parent))
		return reply_fail(rep, errno, "%s", dir);
	if (snprintf(path, PATH_BYTES, "%s/%s", strcmp(parent, "/") ? parent : "", slash + 1) >= PATH_BYTES)
		return reply_fail(rep, ENAMETOOLONG, "%s", file);
	return 0;
}

int backing_open(struct backing *backing, struct reply *rep)
{
	struct stat st;

	backing->fd = open(backing->path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	backing->created = backing->fd >= 0;
	if (!backing->created && errno == EEXIST)
		backing->fd = open(backing->path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	if (backing->fd < 0)
		return reply_fail(rep, errno, "open %s", backing->path);
	if (fstat(backing->fd, &st))
		return reply_fail(rep, errno, "%s", backing->path);
	if (!S_ISREG(st.st_mode))
		return reply_fail(rep, 0, "%s: not a regular file", backing->path);
	backing->size_before = st.st_size;
	return 0;
}

void backing_close(struct backing *backing)
{
	close_scoped(&backing->fd);
}

/* Asked beforehand: to find out by allocating would leave everybody else without room meanwhile. */
static int check_room(const struct backing *backing, uint64_t size, struct reply *rep)
{
	struct statfs fs;
	struct stat st;
	uint64_t room;

	if (fstat(backing->fd, &st) || fstatfs(backing->fd, &fs))
		return reply_fail(rep, errno, "%s", backing->path);
	room = (uint64_t)fs.f_bavail * (uint64_t)fs.f_bsize + (uint64_t)st.st_blocks * 512;
	if (size > room)
		return reply_fail(rep, ENOSPC, "allocate %llu bytes for %s, where there are %llu",
				  (unsigned long long)size, backing->path, (unsigned long long)room);
	return 0;
}

int backing_shape(struct backing *backing, off_t size, bool allocate, struct reply *rep)
{
	uint32_t pin = 1;

	if (allocate && check_room(backing, (uint64_t)size, rep))
		return -1;
	/* While the file is still empty: F2FS then allocates it in whole sections, which its GC leaves alone. */
	if (backing->pin && ioctl(backing->fd, F2FS_IOC_SET_PIN_FILE, &pin) < 0)
		backing->pin_errno = errno;
	if ((!allocate || size < backing->size_before) && ftruncate(backing->fd, size))
		return reply_fail(rep, errno, "set the size of %s to %lld", backing->path, (long long)size);
	if (allocate && fallocate(backing->fd, 0, 0, size))
		return reply_fail(rep, errno, "allocate %lld bytes for %s", (long long)size, backing->path);
	return 0;
}

void backing_undo(struct backing *backing)
{
	/* A file that was there keeps its content; should the size not come back, the failure at hand says more. */
	if (backing->created)
		unlink(backing->path);
	else if (ftruncate(backing->fd, backing->size_before))
		return;
}

int backing_read_back(const struct backing *backing, struct reply *rep)
{
	struct statfs fs;
	struct stat st;
	char magic[16];
	int flags = 0;

	if (fstat(backing->fd, &st) || fstatfs(backing->fd, &fs))
		return reply_fail(rep, errno, "%s", backing->path);
	/* F2FS shows a pinned file with the flag of files that are not copied on write. */
	if ((uint32_t)fs.f_type == F2FS_MAGIC && ioctl(backing->fd, FS_IOC_GETFLAGS, &flags))
		return reply_fail(rep, errno, "flags of %s", backing->path);
	snprintf(magic, sizeof(magic), "0x%x", (unsigned int)fs.f_type);
	reply_u64(rep, "file_bytes", (uint64_t)st.st_size);
	reply_u64(rep, "allocated_bytes", (uint64_t)st.st_blocks * 512);
	reply_text(rep, "fs_magic", magic);
	reply_u64(rep, "created", backing->created);
	reply_u64(rep, "pinned", !!(flags & FS_NOCOW_FL));
	reply_text(rep, "pin_errno", errno_name(backing->pin_errno));
	return 0;
}
