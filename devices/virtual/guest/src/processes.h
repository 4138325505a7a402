/* SPDX-License-Identifier: Apache-2.0 */
/* The apps that are installed, and their processes: front and background, freezing, compaction, death. */
#ifndef GUEST_PROCESSES_H
#define GUEST_PROCESSES_H

#include "activity.h"
#include "guest.h"

#define CGROUP "/sys/fs/cgroup/apps"

enum { MAX_APPS = 48, NAME_ROOM = 96, EXITS_KEPT = 4 };

/* android.app.ApplicationExitInfo's numbers. */
enum exit_reason {
	EXIT_SELF = 1,
	EXIT_SIGNALED = 2,
	EXIT_LOW_MEMORY = 3,
	EXIT_CRASH_NATIVE = 5,
	EXIT_USER_REQUESTED = 10,
	EXIT_OTHER = 13,
};

struct exit_record {
	long long at_ms, rss_kib;
	pid_t pid;
	int adj, reason, status;
};

struct app {
	char package[NAME_ROOM], activity[NAME_ROOM];
	uid_t uid;
	bool launchable;
	struct launch launch;
	pid_t pid; /* 0: does not run */
	int socket, adj;
	bool frozen, sticky;
	bool to_compact;
	pid_t compactor; /* the process that does it */
	long turn; /* the later it was in front, the higher */
	long long left_front_ms; /* when it went to the background */
	int to_draw; /* how often it has still to say that it has drawn */
	int killed_for; /* an exit_reason that is known before it is dead */
	long long rss_before_kib;
	struct exit_record exits[EXITS_KEPT];
	int exit_count;
};

extern struct app apps[MAX_APPS];
extern int app_count;
/* NULL: the launcher, which has no process here. */
extern struct app *front;

#define for_each_app(one) for (struct app *one = apps; one < apps + app_count; one++)

struct app *app_named(const char *package);
struct app *app_with_pid(pid_t pid);
/* A file of the app's cgroup; with "" its folder. */
void cgroup_path(const struct app *app, const char *file, char path[PATH_ROOM]);

void bring_to_front(struct app *app);
void freeze(struct app *app);
void thaw(struct app *app);
/* What is left to do for a process that is dead or about to be: waits for its end. */
void bury(struct app *app);
void kill_app(struct app *app, enum exit_reason reason, const char *why);

bool compacting(void);
/* One at a time, as Android's compaction thread does. */
void compact_next(void);
/* Ends of compactions; they have no one else to wait for them. */
void reap_compactors(void);

#endif
