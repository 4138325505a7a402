// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <grp.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "events.h"
#include "ranking.h"
#include "syscalls.h"
#include "zygote.h"

#define APP_PROGRAM "/system/bin/app"

enum { APK_MODE = 0644, FOLDER_MODE = 0755, MIB = 1 << 20 };

static int make_apk(const char *path, uint64_t state, int64_t size)
{
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, APK_MODE);
	static uint64_t block[MIB / sizeof(uint64_t)];

	if (fd < 0)
		return -1;
	for (int64_t done = 0; done < size; done += MIB) {
		for (size_t i = 0; i < COUNT(block); i++) {
			state ^= state << 13;
			state ^= state >> 7;
			state ^= state << 17;
			block[i] = state;
		}
		if (write(fd, block, size - done < MIB ? (size_t)(size - done) : MIB) < 0)
			return -1;
	}
	fsync(fd);
	posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
	return fd;
}

/* base.apk of the app, made at its first start: what cannot be compressed, on flash and not in the page cache. */
static int open_apk(const struct app *app)
{
	int64_t size = app->launch.file_pages * PAGE_UNIT;
	char path[PATH_ROOM];
	int fd;

	snprintf(path, sizeof(path), "/data/app/%s", app->package);
	mkdir(path, FOLDER_MODE);
	snprintf(path, sizeof(path), "/data/app/%s/base.apk", app->package);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd >= 0 && lseek(fd, 0, SEEK_END) == size)
		return fd;
	close_scoped(&fd);
	return make_apk(path, app->uid, size);
}

static void enter_cgroup(struct app *app)
{
	char path[PATH_ROOM];

	snprintf(path, sizeof(path), CGROUP "/uid_%u", app->uid);
	mkdir(path, FOLDER_MODE);
	snprintf(path, sizeof(path), CGROUP "/uid_%u/cgroup.subtree_control", app->uid);
	write_text(path, "+memory");
	app->pid = getpid();
	cgroup_path(app, "", path);
	mkdir(path, FOLDER_MODE);
	cgroup_path(app, "cgroup.procs", path);
	if (write_text(path, "0"))
		_exit(1);
}

static _Noreturn void become_app(struct app *app, int socket)
{
	char *words[] = { app->package, NULL }, *environment[] = { NULL };
	int apk;

	enter_cgroup(app);
	write_text("/proc/self/oom_score_adj", "0");
	dup2(socket, APP_SOCKET);
	apk = open_apk(app);
	if (apk < 0)
		_exit(1);
	dup2(apk, APP_FILE);
	close_from(APP_FILE + 1);
	if (setgroups(0, NULL) || setresgid(app->uid, app->uid, app->uid) || setresuid(app->uid, app->uid, app->uid))
		_exit(1);
	execve(APP_PROGRAM, words, environment);
	_exit(1);
}

bool start_process(struct app *app)
{
	int ends[2];
	pid_t child;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends))
		return false;
	child = fork();
	if (!child)
		become_app(app, ends[1]);
	close(ends[1]);
	if (child < 0) {
		close(ends[0]);
		return false;
	}
	app->pid = child;
	app->socket = ends[0];
	app->adj = ADJ_FRONT;
	app->to_draw = 1;
	/* An app that is dead already says so by the end of its socket. */
	write(app->socket, &app->launch, sizeof(app->launch));
	log_event("am_proc_start", "0,%d,%u,%s,top-activity,{%s/%s}", (int)app->pid, app->uid, app->package,
		  app->package, app->activity);
	bring_to_front(app);
	return true;
}
