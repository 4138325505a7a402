/* SPDX-License-Identifier: Apache-2.0 */
// dumpsys activity exit-info|oom|activities and the focus line of dumpsys window, in Android's formats.
#pragma once

#include "calls.h"

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

// "2026-07-12 06:03:48.426" in GMT, the phone's time zone. The calendar is Howard Hinnant's days_from_civil, inverted.
static void put_time(struct text *text, long ms)
{
	long days = ms / 86400000 + 719468, second = ms / 1000 % 86400;
	long era = days / 146097, of_era = days % 146097;
	long year = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
	long of_year = of_era - (365 * year + year / 4 - year / 100), shifted = (5 * of_year + 2) / 153;
	long month = shifted < 10 ? shifted + 3 : shifted - 9;
	put(put_padded(text, year + era * 400 + (month <= 2), 4), "-");
	put(put_padded(text, month, 2), "-");
	put(put_padded(text, of_year - (153 * shifted + 2) / 5 + 1, 2), " ");
	put(put_padded(text, second / 3600, 2), ":");
	put(put_padded(text, second / 60 % 60, 2), ":");
	put_padded(put(put_padded(text, second % 60, 2), "."), ms % 1000, 3);
}

static void put_exit(struct text *text, const struct app *app, int number)
{
	const struct exit_record *exit = &app->exits[number];
	put(put_number(put(text, "        ApplicationExitInfo #"), number), ":\n          timestamp=");
	put_time(text, exit->at_ms);
	put_number(put(put_number(put(text, " pid="), exit->pid), " realUid="), app->uid);
	put_number(put(put_number(put(text, " packageUid="), app->uid), " definingUid="), app->uid);
	put(put(put(text, " user=0\n          process="), app->package), " reason=");
	put(put(put(put_number(text, exit->reason), " ("), reason_name(exit->reason)),
	    ") subreason=0 (UNKNOWN) status=");
	put_number(put(put_number(text, exit->status), "\n          importance="), exit->adj == ADJ_FRONT ? 100 : 400);
	put(put_number(put(text, " pss=0.00 rss="), exit->rss_kib / 1024), "MB");
	put(text, " description=null state=empty trace=null\n");
}

static void dump_exit_info(struct call *call)
{
	const char *package = next_word(call);
	struct text text = { 0 };
	say(call->out, put(&text, "ACTIVITY MANAGER PROCESS EXIT INFO (dumpsys activity exit-info)\n"));
	for (const struct app *app = apps; app < apps + app_count; app++) {
		if (!app->exit_count || (package && !same(package, app->package)))
			continue;
		struct text of_app = { 0 };
		put(put(put(&of_app, "  package: "), app->package), "\n    Historical Process Exit for uid=");
		put(put_number(&of_app, app->uid), "\n");
		for (int i = 0; i < app->exit_count; i++)
			put_exit(&of_app, app, i);
		say(call->out, &of_app);
	}
	answer(call, 0);
}

static void put_user(struct text *text, const struct app *app)
{
	put_number(put(text, "/u0a"), app->uid - 10000);
}

static void dump_oom(struct call *call)
{
	struct text text = { 0 };
	int number = 0;
	say(call->out, put(&text, "ACTIVITY MANAGER RUNNING PROCESSES (dumpsys activity processes)\n"
				  "  Process OOM control:\n"));
	for (const struct app *app = apps; app < apps + app_count; app++) {
		if (!app->pid)
			continue;
		struct text line = { 0 };
		put(put_padded(put(&line, "    Proc #"), number++, 2), ": ");
		int in_front = app->adj == ADJ_FRONT, previous = app->adj == ADJ_PREVIOUS;
		put(&line, in_front ? "fg     T/A/TOP  " : previous ? "prev   B/ /LAST " : "cch    B/ /CAC  ");
		put(put(put_number(&line, app->pid), ":"), app->package);
		put_user(&line, app);
		put(&line, in_front ? " (top-activity)" : previous ? " (previous)" : " (cch-act)");
		put_number(put(put_number(put(&line, "\n        oom: max=1001 curRaw="), app->adj), " setRaw="),
			   app->adj);
		put_number(put(put_number(put(&line, " cur="), app->adj), " set="), app->adj);
		put(put(&line, app->frozen ? "\n        isFrozen=true" : "\n        isFrozen=false"), "\n");
		say(call->out, &line);
	}
	answer(call, 0);
}

// What is in front: `before`, the component, and what follows it.
static void dump_front(struct call *call, const char *before, const char *after)
{
	struct text text = { 0 };
	put(&text, before);
	if (front)
		put(put(put(&text, front->package), "/"), front->activity);
	else
		put(&text, "com.android.launcher3/.Launcher");
	say(call->out, put(&text, after));
	answer(call, 0);
}

static void dump(struct call *call)
{
	const char *what = next_word(call);
	if (!what)
		what = "oom";
	if (same(what, "exit-info"))
		dump_exit_info(call);
	else if (same(what, "oom") || same(what, "processes") || same(what, "p"))
		dump_oom(call);
	else if (same(what, "activities") || same(what, "a")) {
		dump_front(call,
			   "ACTIVITY MANAGER ACTIVITIES (dumpsys activity activities)\n"
			   "  topResumedActivity=ActivityRecord{1 u0 ",
			   " t1}\n");
	} else if (same(what, "focus"))
		dump_front(call, "  mCurrentFocus=Window{1 u0 ", "}\n");
	else
		answer_line(call, call->out, 0, "Bad activity command, or no activities match: ", what);
}
