/* SPDX-License-Identifier: Apache-2.0 */
// am start: the intent out of its options, the app that it means, and the report once the app has drawn or died.
// Words and order are those of ActivityManagerShellCommand.runStartActivity.
#pragma once

#include "calls.h"
#include "zygote.h"

#define HOME_ACTIVITY "com.android.launcher3/.Launcher"

// ActivityTaskManagerService's launch timeout, times ro.hw_timeout_multiplier for an emulated CPU.
enum { LAUNCH_TIMEOUT_MS = 10000 * 6, AFTER_STOP_MS = 250 };

struct intent {
	int wait, stop;
	const char *action, *category, *package;
	struct text component, class_name; // "PACKAGE/.Class", "package.Class"
};

static void set_component(struct intent *intent, const char *component)
{
	struct text *short_form = &intent->component, *full = &intent->class_name, package = { 0 };
	const char *slash = find(component, "/"), *class_name = slash + 1;
	while (component < slash) {
		char letter[] = { *component++, 0 };
		put(&package, letter);
	}
	if (*class_name == '.')
		put(full, package.is);
	put(full, class_name);
	const char *within = full->is;
	if (find(within, package.is) == within && within[package.used] == '.')
		within += package.used;
	put(put(put(short_form, package.is), "/"), within);
}

static struct text intent_text(const struct intent *intent)
{
	struct text text = { 0 };
	put(&text, "Intent {");
	if (intent->action)
		put(put(&text, " act="), intent->action);
	if (intent->category)
		put(put(put(&text, " cat=["), intent->category), "]");
	if (intent->package)
		put(put(&text, " pkg="), intent->package);
	if (intent->component.used)
		put(put(&text, " cmp="), intent->component.is);
	put(&text, " }");
	return text;
}

static int takes_value(const char *option)
{
	static const char *const options[] = { "-a", "-c", "-n", "-p", "-f", "--user", "--display", "--windowingMode" };
	for (unsigned i = 0; i < sizeof options / sizeof *options; i++) {
		if (same(option, options[i]))
			return 1;
	}
	return 0;
}

// 0 when it was refused, and answered.
static int parse_intent(struct call *call, struct intent *intent)
{
	for (const char *word, *value; (word = next_word(call));) {
		if (same(word, "-W"))
			intent->wait = 1;
		else if (same(word, "-S"))
			intent->stop = 1;
		else if (word[0] != '-')
			intent->package = word;
		else if (!takes_value(word))
			return answer_exception(call, "Unknown option: ", word), 0;
		else if (!(value = next_word(call)))
			return answer_exception(call, "Argument expected after ", word), 0;
		else if (same(word, "-a"))
			intent->action = value;
		else if (same(word, "-c"))
			intent->category = value;
		else if (same(word, "-p"))
			intent->package = value;
		else if (same(word, "-n") && !find(value, "/"))
			return answer_exception(call, "Bad component name: ", value), 0;
		else if (same(word, "-n"))
			set_component(intent, value);
	}
	return 1;
}

static struct app *app_of(struct intent *intent)
{
	for (struct app *app = apps; app < apps + app_count; app++) {
		struct text component = { 0 };
		put(put(put(&component, app->package), "/"), app->activity);
		int meant = intent->component.used ? same(component.is, intent->component.is) :
						     intent->package && same(app->package, intent->package);
		if (!meant || !app->launchable)
			continue;
		if (!intent->component.used)
			set_component(intent, component.is);
		return app;
	}
	return 0;
}

static int is_home(const struct intent *intent)
{
	return intent->category && same(intent->category, "android.intent.category.HOME") && !intent->component.used;
}

static void report(struct call *call, const char *status, const char *state, const char *activity, long total_ms)
{
	struct text text = { 0 };
	put(put(put(put(&text, "Status: "), status), "\nLaunchState: "), state);
	put(put(&text, "\nActivity: "), activity);
	if (total_ms >= 0)
		put_number(put(&text, "\nTotalTime: "), total_ms);
	put_number(put(&text, "\nWaitTime: "), (waited_us(call) + 999) / 1000);
	say(call->out, put(&text, "\nComplete\n"));
	answer(call, 0);
}

// Tells all who wait for the app. One that died before it had drawn is reported as Android does it: with no TotalTime
// and an unknown state (ActivityTaskSupervisor.stopWaitingForActivityVisible: INVALID_DELAY, LAUNCH_STATE_UNKNOWN).
static void finish_starts(const struct app *app, int drawn)
{
	for (struct call *call = calls; call < calls + MAX_CALLS; call++) {
		if (!call->used || call->app != app)
			continue;
		struct text activity = { 0 };
		put(put(put(&activity, app->package), "/"), app->activity);
		long total_ms = (waited_us(call) + 999) / 1000;
		const char *state = !drawn ? "UNKNOWN (0)" : call->state == COLD ? "COLD" : "HOT";
		report(call, "ok", state, activity.is, drawn ? total_ms : -1);
	}
}

static void give_up_late_starts(void)
{
	for (struct call *call = calls; call < calls + MAX_CALLS; call++) {
		if (!call->used || !call->app || waited_us(call) / 1000 < LAUNCH_TIMEOUT_MS)
			continue;
		struct text activity = { 0 };
		put(put(put(&activity, call->app->package), "/"), call->app->activity);
		report(call, "timeout", "UNKNOWN (-1)", activity.is, -1);
	}
}

static void stop_package(struct app *app, int reason, const char *why)
{
	struct text text = { 0 };
	if (!app->pid)
		return;
	kill_app(app, reason, put(&text, why));
	finish_starts(app, 0);
}

static void force_stop(const struct call *call, struct app *app)
{
	struct text why = { 0 };
	put_number(put(put(put(&why, "stop "), app->package), " due to from pid "), pid_of(call));
	stop_package(app, EXIT_USER_REQUESTED, why.is);
}

static void stop_first(struct call *call, struct app *app)
{
	struct text text = { 0 };
	long pause[2] = { 0, AFTER_STOP_MS * 1000000L };
	say(call->out, put(put(put(&text, "Stopping: "), app->package), "\n"));
	force_stop(call, app);
	KERNEL(SYS_nanosleep, pause, 0, 0);
}

static void warn(int fd, const char *warning)
{
	struct text text = { 0 };
	say(fd, put(put(put(&text, "Warning: Activity not started, "), warning), "\n"));
}

static void go_home(struct call *call, int wait)
{
	bring_to_front(0);
	if (wait)
		report(call, "ok", "HOT", HOME_ACTIVITY, 0);
	else
		answer(call, 0);
}

static void refuse(struct call *call, int fd, const struct intent *intent)
{
	struct text text = { 0 };
	if (!intent->component.used) {
		struct text what = intent_text(intent);
		answer_line(call, fd, 1, "Error: Activity not started, unable to resolve ", what.is);
		return;
	}
	const char *slash = find(intent->component.is, "/");
	put(&text, "Error type 3\nError: Activity class {");
	for (const char *at = intent->component.is; at <= slash; at++)
		put(&text, (char[]){ *at, 0 });
	say(fd, put(put(&text, intent->class_name.is), "} does not exist.\n"));
	answer(call, 1);
}

static void start_activity(struct call *call)
{
	struct intent intent = { 0 };
	if (!parse_intent(call, &intent))
		return;
	struct app *app = is_home(&intent) ? 0 : app_of(&intent);
	if (intent.stop && app)
		stop_first(call, app);
	struct text text = { 0 }, what = intent_text(&intent);
	say(call->out, put(put(put(&text, "Starting: "), what.is), "\n"));
	// With -W Android's am warns and complains on stdout.
	int fd = intent.wait ? call->out : call->err;
	call->began_us = clock_us(CLOCK_MONOTONIC);
	if (is_home(&intent))
		return go_home(call, intent.wait);
	if (!app)
		return refuse(call, fd, &intent);
	if (app->pid && app == front) {
		warn(fd, "intent has been delivered to currently running top-most instance.");
		if (intent.wait)
			report(call, "ok", "UNKNOWN (0)", intent.component.is, 0);
		else
			answer(call, 0);
		return;
	}
	call->state = app->pid ? HOT : COLD;
	if (app->pid) {
		char word = RESUME;
		warn(fd, "its current task has been brought to the front");
		bring_to_front(app);
		app->to_draw++;
		KERNEL(SYS_write, app->socket, &word, 1);
	} else if (!start_process(app)) {
		return answer_line(call, fd, 1, "Error: Activity not started, unknown error code ", "-96");
	}
	call->app = app;
	if (!intent.wait) {
		call->app = 0;
		answer(call, 0);
	}
}
