// SPDX-License-Identifier: Apache-2.0
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "compaction.h"
#include "events.h"
#include "processes.h"
#include "ranking.h"

/* am_proc_died's words for a process at the front and for a cached one. */
enum { STATE_TOP = 2, STATE_CACHED = 16 };

struct app apps[MAX_APPS];
int app_count;
struct app *front;

static long turns;

struct app *app_named(const char *package)
{
	for_each_app(app)
		if (same(app->package, package))
			return app;
	return NULL;
}

struct app *app_with_pid(pid_t pid)
{
	for_each_app(app)
		if (pid > 0 && app->pid == pid)
			return app;
	return NULL;
}

void cgroup_path(const struct app *app, const char *file, char path[PATH_ROOM])
{
	snprintf(path, PATH_ROOM, CGROUP "/uid_%u/pid_%d%s%s", app->uid, (int)app->pid, *file ? "/" : "", file);
}

static void set_adj(struct app *app, int adj)
{
	char path[PATH_ROOM], value[16];

	snprintf(path, sizeof(path), "/proc/%d/oom_score_adj", (int)app->pid);
	snprintf(value, sizeof(value), "%d", adj);
	write_text(path, value);
	app->adj = adj;
}

static void rank(void)
{
	for_each_app(app) {
		int later = 0, adj;

		if (!app->pid)
			continue;
		for_each_app(other)
			later += other->pid && other != front && other->turn > app->turn;
		adj = adj_of(app == front, later);
		if (adj != app->adj)
			set_adj(app, adj);
	}
}

void bring_to_front(struct app *app)
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

void freeze(struct app *app)
{
	char path[PATH_ROOM];

	cgroup_path(app, "cgroup.freeze", path);
	if (app->frozen || write_text(path, "1"))
		return;
	app->frozen = app->to_compact = true;
	log_event("am_freeze", "%d,%s", (int)app->pid, app->package);
}

void thaw(struct app *app)
{
	char path[PATH_ROOM];

	app->to_compact = false;
	if (app->compactor)
		kill(app->compactor, SIGKILL);
	if (!app->frozen)
		return;
	cgroup_path(app, "cgroup.freeze", path);
	write_text(path, "0");
	app->frozen = app->sticky = false;
	log_event("am_unfreeze", "%d,%s", (int)app->pid, app->package);
}

bool compacting(void)
{
	for_each_app(app)
		if (app->compactor)
			return true;
	return false;
}

void compact_next(void)
{
	for_each_app(app) {
		pid_t child;

		if (!app->to_compact || !app->pid)
			continue;
		if (compacting())
			return;
		app->to_compact = false;
		child = compaction_start(app->pid);
		if (child > 0)
			app->compactor = child;
	}
}

void reap_compactors(void)
{
	for_each_app(app)
		if (app->compactor && waitpid(app->compactor, NULL, WNOHANG))
			app->compactor = 0;
}

static enum exit_reason exit_reason_of(const struct app *app, int status)
{
	if (app->killed_for)
		return (enum exit_reason)app->killed_for;
	if (!WIFSIGNALED(status))
		return EXIT_SELF;
	return WTERMSIG(status) == SIGKILL ? EXIT_SIGNALED : EXIT_CRASH_NATIVE;
}

static void record_exit(struct app *app, int status)
{
	memmove(&app->exits[1], &app->exits[0], sizeof(app->exits) - sizeof(app->exits[0]));
	if (app->exit_count < EXITS_KEPT)
		app->exit_count++;
	app->exits[0] = (struct exit_record){
		.at_ms = clock_ms(CLOCK_REALTIME),
		.rss_kib = app->rss_before_kib,
		.pid = app->pid,
		.adj = app->adj,
		.reason = exit_reason_of(app, status),
		.status = WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status),
	};
}

static void remove_cgroup(const struct app *app)
{
	char path[PATH_ROOM];

	cgroup_path(app, "", path);
	rmdir(path);
	snprintf(path, sizeof(path), CGROUP "/uid_%u", app->uid);
	rmdir(path);
}

void bury(struct app *app)
{
	int status = 0;

	waitpid(app->pid, &status, 0);
	close(app->socket);
	log_event("am_proc_died", "0,%d,%s,%d,%d", (int)app->pid, app->package, app->adj,
		  app->adj == ADJ_FRONT ? STATE_TOP : STATE_CACHED);
	record_exit(app, status);
	remove_cgroup(app);
	if (front == app)
		front = NULL;
	app->pid = app->to_draw = app->killed_for = 0;
	app->frozen = app->sticky = app->to_compact = false;
	app->rss_before_kib = 0;
	rank();
}

void kill_app(struct app *app, enum exit_reason reason, const char *why)
{
	app->rss_before_kib = rss_kib(app->pid);
	log_event("am_kill", "0,%d,%s,%d,%s,%lld", (int)app->pid, app->package, app->adj, why, app->rss_before_kib);
	app->killed_for = reason;
	kill(app->pid, SIGKILL);
	bury(app);
}
