/* SPDX-License-Identifier: Apache-2.0 */
// How an app's process comes to be: forked from system_server, put into its cgroup, given its apk, uid and name.
#pragma once

#include "processes.h"

enum { APK_MODE = 0644, FOLDER_MODE = 0755, DONT_NEED = 4, MIB = 1 << 20 };

// base.apk of the app, made at its first start: what cannot be compressed, on flash and not in the page cache.
static long open_apk(const struct app *app)
{
	struct text folder = { 0 }, file = { 0 };
	put(put(&folder, "/data/app/"), app->package);
	put(put(&file, folder.is), "/base.apk");
	long size = app->launch.file_pages * 4096, fd = KERNEL(SYS_open, file.is, O_READ, 0);
	if (fd >= 0 && KERNEL(SYS_lseek, fd, 0, 2) == size)
		return fd;
	if (fd >= 0)
		KERNEL(SYS_close, fd, 0, 0);
	KERNEL(SYS_mkdir, folder.is, FOLDER_MODE, 0);
	fd = KERNEL(SYS_open, file.is, O_READ_WRITE | O_CREATE | O_TRUNCATE, APK_MODE);
	if (fd < 0)
		return fd;
	static unsigned long block[MIB / 8];
	unsigned long state = (unsigned long)app->uid;
	for (long done = 0; done < size; done += MIB) {
		for (int i = 0; i < MIB / 8; i++) {
			state ^= state << 13, state ^= state >> 7, state ^= state << 17;
			block[i] = state;
		}
		if (KERNEL(SYS_write, fd, block, size - done < MIB ? size - done : MIB) < 0)
			return -1;
	}
	KERNEL(SYS_fsync, fd, 0, 0);
	kernel(SYS_fadvise64, fd, 0, 0, DONT_NEED, 0, 0);
	return fd;
}

static void enter_cgroup(struct app *app)
{
	struct text parent = { 0 }, control = { 0 };
	put_number(put(&parent, CGROUP "/uid_"), app->uid);
	KERNEL(SYS_mkdir, parent.is, FOLDER_MODE, 0);
	write_file(put(put(&control, parent.is), "/cgroup.subtree_control")->is, "+memory");
	app->pid = (int)KERNEL(SYS_getpid, 0, 0, 0);
	struct text home = cgroup_of(app, ""), members = cgroup_of(app, "cgroup.procs");
	KERNEL(SYS_mkdir, home.is, FOLDER_MODE, 0);
	if (write_file(members.is, "0") < 0)
		leave(1);
}

_Noreturn static void become_app(struct app *app, long socket)
{
	enter_cgroup(app);
	write_file("/proc/self/oom_score_adj", "0");
	KERNEL(SYS_dup2, socket, APP_SOCKET, 0);
	long apk = open_apk(app);
	if (apk < 0)
		leave(1);
	KERNEL(SYS_dup2, apk, APP_FILE, 0);
	KERNEL(SYS_close_range, APP_FILE + 1, ~0U, 0);
	if (KERNEL(SYS_setgroups, 0, 0, 0) || KERNEL(SYS_setresgid, app->uid, app->uid, app->uid) ||
	    KERNEL(SYS_setresuid, app->uid, app->uid, app->uid))
		leave(1);
	char *words[] = { app->package, 0 }, *environment[] = { 0 };
	KERNEL(SYS_execve, "/system/bin/app", words, environment);
	leave(1);
}

// A running process that will say DRAWN, in front; 0 when there is no room for one.
static int start_process(struct app *app)
{
	int ends[2];
	if (kernel(SYS_socketpair, AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, (long)ends, 0, 0) < 0)
		return 0;
	long child = KERNEL(SYS_fork, 0, 0, 0);
	if (child == 0)
		become_app(app, ends[1]);
	KERNEL(SYS_close, ends[1], 0, 0);
	if (child < 0) {
		KERNEL(SYS_close, ends[0], 0, 0);
		return 0;
	}
	app->pid = (int)child, app->socket = ends[0], app->adj = ADJ_FRONT, app->to_draw = 1;
	KERNEL(SYS_write, app->socket, &app->launch, sizeof app->launch);
	struct text event = { 0 };
	put(put_number(put(put_number(put(&event, "0,"), app->pid), ","), app->uid), ",");
	put(put(put(&event, app->package), ",top-activity,{"), app->package);
	log_event("am_proc_start", put(put(put(&event, "/"), app->activity), "}"));
	bring_to_front(app);
	return 1;
}
