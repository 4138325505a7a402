// SPDX-License-Identifier: Apache-2.0
#include <time.h>

#include "dump.h"
#include "ranking.h"

enum { FIRST_APP_UID = 10000 };

static const char *reason_name(int reason)
{
	switch (reason) {
	case EXIT_SELF:
		return "EXIT_SELF";
	case EXIT_SIGNALED:
		return "SIGNALED";
	case EXIT_LOW_MEMORY:
		return "LOW_MEMORY";
	case EXIT_CRASH_NATIVE:
		return "APP CRASH(NATIVE)";
	case EXIT_USER_REQUESTED:
		return "USER REQUESTED";
	default:
		return "OTHER KILLS BY SYSTEM";
	}
}

/* "2026-07-12 06:03:48.426" in GMT, the phone's time zone. */
static void add_time(struct text *text, long long ms)
{
	time_t seconds = ms / 1000;
	struct tm tm;
	char day[32];

	gmtime_r(&seconds, &tm);
	strftime(day, sizeof(day), "%Y-%m-%d %H:%M:%S", &tm);
	text_add(text, "%s.%03lld", day, ms % 1000);
}

static void add_exit(struct text *text, const struct app *app, int number)
{
	const struct exit_record *record = &app->exits[number];

	text_add(text, "        ApplicationExitInfo #%d:\n          timestamp=", number);
	add_time(text, record->at_ms);
	text_add(text, " pid=%d realUid=%u packageUid=%u definingUid=%u user=0\n", (int)record->pid, app->uid, app->uid,
		 app->uid);
	text_add(text, "          process=%s reason=%d (%s) subreason=0 (UNKNOWN) status=%d\n", app->package,
		 record->reason, reason_name(record->reason), record->status);
	text_add(text, "          importance=%d pss=0.00 rss=%lldMB description=null state=empty trace=null\n",
		 record->adj == ADJ_FRONT ? 100 : 400, record->rss_kib / 1024);
}

static void dump_exit_info(struct call *call)
{
	const char *package = next_word(call);

	say(call->out, "ACTIVITY MANAGER PROCESS EXIT INFO (dumpsys activity exit-info)\n");
	for_each_app(app) {
		struct text text = { 0 };

		if (!app->exit_count || (package && !same(package, app->package)))
			continue;
		text_add(&text, "  package: %s\n    Historical Process Exit for uid=%u\n", app->package, app->uid);
		for (int i = 0; i < app->exit_count; i++)
			add_exit(&text, app, i);
		say(call->out, "%s", text.is);
	}
	answer(call, 0);
}

static void dump_process(int fd, const struct app *app, int number)
{
	const char *rank = "cch    B/ /CAC  ", *why = "cch-act";

	if (app->adj == ADJ_FRONT) {
		rank = "fg     T/A/TOP  ";
		why = "top-activity";
	} else if (app->adj == ADJ_PREVIOUS) {
		rank = "prev   B/ /LAST ";
		why = "previous";
	}
	say(fd,
	    "    Proc #%02d: %s%d:%s/u0a%u (%s)\n"
	    "        oom: max=1001 curRaw=%d setRaw=%d cur=%d set=%d\n"
	    "        isFrozen=%s\n",
	    number, rank, (int)app->pid, app->package, app->uid - FIRST_APP_UID, why, app->adj, app->adj, app->adj,
	    app->adj, app->frozen ? "true" : "false");
}

static void dump_oom(struct call *call)
{
	int number = 0;

	say(call->out, "ACTIVITY MANAGER RUNNING PROCESSES (dumpsys activity processes)\n"
		       "  Process OOM control:\n");
	for_each_app(app)
		if (app->pid)
			dump_process(call->out, app, number++);
	answer(call, 0);
}

/* What is in front: the component, and what stands before and behind it. */
static void dump_front(struct call *call, const char *before, const char *after)
{
	if (front)
		say(call->out, "%s%s/%s%s\n", before, front->package, front->activity, after);
	else
		say(call->out, "%scom.android.launcher3/.Launcher%s\n", before, after);
	answer(call, 0);
}

void dump(struct call *call)
{
	const char *what = next_word(call);

	if (!what)
		what = "oom";
	if (same(what, "exit-info"))
		dump_exit_info(call);
	else if (same(what, "oom") || same(what, "processes") || same(what, "p"))
		dump_oom(call);
	else if (same(what, "activities") || same(what, "a"))
		dump_front(call,
			   "ACTIVITY MANAGER ACTIVITIES (dumpsys activity activities)\n"
			   "  topResumedActivity=ActivityRecord{1 u0 ",
			   " t1}");
	else if (same(what, "focus"))
		dump_front(call, "  mCurrentFocus=Window{1 u0 ", "}");
	else
		answer_line(call, call->out, 0, "Bad activity command, or no activities match: %s", what);
}
