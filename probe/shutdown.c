// SPDX-License-Identifier: Apache-2.0
/* Makes a file system of the suite's own fail all further I/O, as one whose disk went away. */
#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "probe.h"

enum { LOOP_MAJOR = 7 };

/* EXT4_IOC_SHUTDOWN and its like of other file systems; 2: without writing out the log. */
#define FS_IOC_SHUTDOWN _IOR('X', 125, uint32_t)

int cmd_fs_shutdown(const struct request *req, struct reply *rep)
{
	const char *path = arg_text(req, "path", "");
	uint32_t how = 2;
	struct stat st;

	SCOPED_FD fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st))
		return reply_fail(rep, errno, "open %s", path);
	if (major(st.st_dev) != LOOP_MAJOR)
		return reply_fail(rep, 0, "%s: refused, it is not on a loop device", path);
	return ioctl(fd, FS_IOC_SHUTDOWN, &how) ? reply_fail(rep, errno, "shut down %s", path) : 0;
}
