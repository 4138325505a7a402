// SPDX-License-Identifier: Apache-2.0
/*
 * system_server: keeps the apps as Android's activity manager does. It starts their processes, ranks them by
 * oom_score_adj, and freezes and compacts what has been in the background for debug.lab.freeze_after_s seconds.
 */
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "commands.h"
#include "compaction.h"
#include "starting.h"

#define PACKAGES "/system/etc/packages"
#define FREEZE_AFTER "/dev/__properties__/shell/debug.lab.freeze_after_s"
#define FREEZER_SETTING "/data/system/settings/global/cached_apps_freezer"
#define COMPACTION_FLAG "/data/system/device_config/activity_manager/use_compaction"

enum {
	FREEZE_AFTER_S = 10,
	BACKLOG = 16,
	SHELL = 2000,
	SOCKET_MODE = 0660,
	FOLDER_MODE = 0755,
	TICK_MS = 500,
	FAST_TICK_MS = 50,
	FIRST_UID = 10100,
	PAGES_PER_MIB = (1 << 20) / PAGE_UNIT,
};

/* False for what is no app. */
static bool read_package(struct app *app, const char *line)
{
	int anonymous_mib, file_mib, working_mib;
	char crash = '\0';

	if (*line == '#' || sscanf(line, "%95s %95s %d %d %d %c", app->package, app->activity, &anonymous_mib,
				   &file_mib, &working_mib, &crash) < 5)
		return false;
	app->launch.anonymous_pages = (int64_t)anonymous_mib * PAGES_PER_MIB;
	app->launch.file_pages = (int64_t)file_mib * PAGES_PER_MIB;
	app->launch.working_pages = (int64_t)working_mib * PAGES_PER_MIB;
	app->launch.crashes = crash == 'c';
	app->launchable = app->activity[0] != '-';
	app->uid = (uid_t)(FIRST_UID + (app - apps) + 1);
	return true;
}

static void read_packages(void)
{
	static char list[16 * 1024];

	if (read_file(PACKAGES, list, sizeof(list)) < 0)
		fail(1, "system_server: no " PACKAGES "\n");
	for (char *rest = list, *line; app_count < MAX_APPS && (line = strtok_r(rest, "\n", &rest));)
		if (read_package(&apps[app_count], line))
			app_count++;
}

static bool says(const char *path, const char *word)
{
	char content[64];

	return read_file(path, content, sizeof(content)) > 0 && begins_with(content, word);
}

/* How long until the next app is to be frozen may change at any time, so the property is read at each tick. */
static long long freeze_after_ms(void)
{
	char value[32];

	return read_file(FREEZE_AFTER, value, sizeof(value)) > 1 ? atoll(value) * 1000 : FREEZE_AFTER_S * 1000LL;
}

static void look_after_background(void)
{
	bool freezer = !says(FREEZER_SETTING, "disabled"), compaction = !says(COMPACTION_FLAG, "false");
	long long now = clock_ms(CLOCK_MONOTONIC), after = freeze_after_ms();

	for_each_app(app) {
		if (!app->pid || app == front || app->frozen || now - app->left_front_ms < after)
			continue;
		if (freezer && !app->sticky)
			freeze(app);
		app->to_compact &= compaction;
	}
	compact_next();
}

/* -1: nothing to do until somebody calls. */
static int next_tick_ms(void)
{
	if (compacting())
		return FAST_TICK_MS;
	for_each_app(app)
		if (app->pid && app != front && (!app->frozen || app->to_compact))
			return TICK_MS;
	for_each_call(call)
		if (call->used)
			return TICK_MS;
	return -1;
}

/* An app's process says that it has drawn, or its socket ends because it is dead. */
static void hear(struct app *app)
{
	char word;

	if (read(app->socket, &word, 1) != 1) {
		bury(app);
		finish_starts(app, false);
	} else if (--app->to_draw == 0) {
		/* One that was brought back several times answers each time; the last answer is the one that counts. */
		finish_starts(app, true);
	}
}

static _Noreturn void run(int listener)
{
	for (;;) {
		struct pollfd entries[MAX_APPS + 1] = { { .fd = listener, .events = POLLIN } };

		for (int i = 0; i < app_count; i++)
			entries[i + 1] = (struct pollfd){ .fd = apps[i].pid ? apps[i].socket : -1, .events = POLLIN };
		poll(entries, (nfds_t)app_count + 1, next_tick_ms());
		/* lmkd's word about a death comes before the death. */
		if (entries[0].revents) {
			struct call *call = take_call(listener);

			if (call)
				serve(call);
		}
		for (int i = 0; i < app_count; i++)
			if (entries[i + 1].revents && apps[i].pid && apps[i].socket == entries[i + 1].fd)
				hear(&apps[i]);
		reap_compactors();
		give_up_late_starts();
		look_after_background();
	}
}

static int open_socket(void)
{
	int listener = activity_listen(BACKLOG);

	if (listener < 0 || chown(ACTIVITY_SOCKET, 0, SHELL) || chmod(ACTIVITY_SOCKET, SOCKET_MODE))
		fail(1, "system_server: no socket\n");
	return listener;
}

static void make_cgroup(void)
{
	/* Apps do not outlive system_server, as on Android. */
	write_text(CGROUP "/cgroup.kill", "1");
	mkdir(CGROUP, FOLDER_MODE);
	write_text("/sys/fs/cgroup/cgroup.subtree_control", "+memory");
	write_text(CGROUP "/cgroup.subtree_control", "+memory");
}

int main(int argc, char **argv)
{
	sigset_t blocked;

	(void)argc;
	compaction_begin(argv[0]);
	/* A client or an app that is gone is told by errno. */
	sigemptyset(&blocked);
	sigaddset(&blocked, SIGPIPE);
	sigprocmask(SIG_BLOCK, &blocked, NULL);
	read_packages();
	make_cgroup();
	run(open_socket());
}
