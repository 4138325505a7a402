/* SPDX-License-Identifier: Apache-2.0 */
// The apps that are installed, and their processes: start, front and background, freezing, compaction, death.
#pragma once

#include "activity.h"
#include "compaction.h"
#include "events.h"

#define CGROUP "/sys/fs/cgroup/apps"

enum {
	MAX_APPS = 48,
	NAME_ROOM = 96,
	FIRST_UID = 10100,
	PAGES_PER_MIB = 256,
	SIGKILL = 9,
	WNOHANG = 1,
	ADJ_FRONT = 0,
	ADJ_PREVIOUS = 700,
	ADJ_CACHED = 900,
	ADJ_STEP = 5,
	ADJ_LAST = 999,
	EXITS_KEPT = 4
};

// android.app.ApplicationExitInfo's numbers.
enum exit_reason {
	EXIT_SELF = 1,
	EXIT_SIGNALED = 2,
	EXIT_LOW_MEMORY = 3,
	EXIT_CRASH_NATIVE = 5,
	EXIT_USER_REQUESTED = 10,
	EXIT_OTHER = 13
};

struct exit_record {
	long at_ms, rss_kib;
	int pid, adj, reason, status;
};

struct app {
	char package[NAME_ROOM], activity[NAME_ROOM];
	int uid, launchable;
	struct launch launch;
	int pid, socket, adj, frozen, sticky;
	int to_compact, compactor; // wanted, and the process that does it
	long turn; // the later it was in front, the higher
	long left_front_ms; // when it went to the background
	int to_draw; // how often it has still to say that it has drawn
	int killed_for; // an exit_reason that is known before it is dead
	long rss_before_kib;
	struct exit_record exits[EXITS_KEPT];
	int exit_count;
};

static struct app apps[MAX_APPS];
static int app_count;
static struct app *front; // 0: the launcher, which has no process here
static long turns;

static struct app *app_named(const char *package)
{
	for (struct app *app = apps; app < apps + app_count; app++) {
		if (same(app->package, package))
			return app;
	}
	return 0;
}

static struct app *app_with_pid(long pid)
{
	for (struct app *app = apps; pid > 0 && app < apps + app_count; app++) {
		if (app->pid == pid)
			return app;
	}
	return 0;
}

// "[0,PID,PACKAGE": how the activity manager's events begin.
static struct text event_of(const struct app *app)
{
	struct text fields = { 0 };
	put(put(put_number(put(&fields, "0,"), app->pid), ","), app->package);
	return fields;
}

static struct text cgroup_of(const struct app *app, const char *file)
{
	struct text path = { 0 };
	put_number(put(put_number(put(&path, CGROUP "/uid_"), app->uid), "/pid_"), app->pid);
	put(put(&path, *file ? "/" : ""), file);
	return path;
}

static void set_adj(struct app *app, int adj)
{
	struct text path = { 0 }, value = { 0 };
	put(put_number(put(&path, "/proc/"), app->pid), "/oom_score_adj");
	put_number(&value, adj);
	write_file(path.is, value.is);
	app->adj = adj;
}

// 0 for the app in front, 700 for the one before it, then 900, 905, ... the longer ago it was used.
static void rank(void)
{
	for (struct app *app = apps; app < apps + app_count; app++) {
		if (!app->pid)
			continue;
		int later = 0, adj = ADJ_PREVIOUS;
		for (struct app *other = apps; other < apps + app_count; other++) {
			later += other->pid && other != front && other->turn > app->turn;
		}
		if (later)
			adj = ADJ_CACHED + (later - 1) * ADJ_STEP;
		if (app == front)
			adj = ADJ_FRONT;
		if (adj > ADJ_LAST)
			adj = ADJ_LAST;
		if (adj != app->adj)
			set_adj(app, adj);
	}
}

static void thaw(struct app *app)
{
	app->to_compact = 0;
	if (app->compactor)
		KERNEL(SYS_kill, app->compactor, SIGKILL, 0);
	if (!app->frozen)
		return;
	struct text path = cgroup_of(app, "cgroup.freeze"), fields = { 0 };
	write_file(path.is, "0");
	app->frozen = app->sticky = 0;
	log_event("am_unfreeze", put(put(put_number(&fields, app->pid), ","), app->package));
}

static int compacting(void)
{
	for (const struct app *app = apps; app < apps + app_count; app++) {
		if (app->compactor)
			return 1;
	}
	return 0;
}

// One at a time, as Android's compaction thread does.
static void compact_next(void)
{
	for (struct app *app = apps; app < apps + app_count && !compacting(); app++) {
		if (!app->to_compact || !app->pid)
			continue;
		app->to_compact = 0;
		long child = KERNEL(SYS_fork, 0, 0, 0);
		if (child == 0)
			page_out(app->pid);
		if (child > 0)
			app->compactor = (int)child;
	}
}

static void freeze(struct app *app)
{
	struct text path = cgroup_of(app, "cgroup.freeze"), fields = { 0 };
	if (app->frozen || write_file(path.is, "1") < 0)
		return;
	app->frozen = app->to_compact = 1;
	log_event("am_freeze", put(put(put_number(&fields, app->pid), ","), app->package));
}

static void bring_to_front(struct app *app)
{
	if (front && front != app)
		front->left_front_ms = clock_ms(CLOCK_MONOTONIC);
	front = app;
	if (app) {
		thaw(app);
		app->turn = ++turns;
	}
	rank();
}

static int exit_reason_of(const struct app *app, int signal)
{
	if (app->killed_for)
		return app->killed_for;
	if (!signal)
		return EXIT_SELF;
	return signal == SIGKILL ? EXIT_SIGNALED : EXIT_CRASH_NATIVE;
}

// What is left to do for a process that is dead or about to be: waits for its end.
static void bury(struct app *app)
{
	int status = 0;
	kernel(SYS_wait4, app->pid, (long)&status, 0, 0, 0, 0);
	KERNEL(SYS_close, app->socket, 0, 0);
	struct text event = event_of(app), home = cgroup_of(app, ""), parent = { 0 };
	put_number(put(put_number(put(&event, ","), app->adj), ","), app->adj == ADJ_FRONT ? 2 : 16);
	log_event("am_proc_died", &event);
	int signal = status & 0x7f;
	for (int i = EXITS_KEPT - 1; i > 0; i--)
		app->exits[i] = app->exits[i - 1];
	if (app->exit_count < EXITS_KEPT)
		app->exit_count++;
	app->exits[0] = (struct exit_record){ clock_ms(CLOCK_WALL),
					      app->rss_before_kib,
					      app->pid,
					      app->adj,
					      exit_reason_of(app, signal),
					      signal ? signal : status >> 8 & 0xff };
	KERNEL(SYS_rmdir, home.is, 0, 0);
	KERNEL(SYS_rmdir, put_number(put(&parent, CGROUP "/uid_"), app->uid)->is, 0, 0);
	if (front == app)
		front = 0;
	app->pid = app->frozen = app->sticky = app->to_compact = app->to_draw = app->killed_for = 0;
	app->rss_before_kib = 0;
	rank();
}

static void kill_app(struct app *app, int reason, const struct text *why)
{
	struct text event = event_of(app);
	app->rss_before_kib = rss_kib(app->pid);
	put(put(put_number(put(&event, ","), app->adj), ","), why->is);
	log_event("am_kill", put_number(put(&event, ","), app->rss_before_kib));
	app->killed_for = reason;
	KERNEL(SYS_kill, app->pid, SIGKILL, 0);
	bury(app);
}

// Ends of compactions; they have no one else to wait for them.
static void reap_compactors(void)
{
	for (struct app *app = apps; app < apps + app_count; app++) {
		if (app->compactor && kernel(SYS_wait4, app->compactor, 0, WNOHANG, 0, 0, 0))
			app->compactor = 0;
	}
}
