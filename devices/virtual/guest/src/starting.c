// SPDX-License-Identifier: Apache-2.0
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "starting.h"
#include "zygote.h"

#define HOME_ACTIVITY "com.android.launcher3/.Launcher"

/* ActivityTaskManagerService's launch timeout, times ro.hw_timeout_multiplier for an emulated CPU. */
enum { LAUNCH_TIMEOUT_MS = 10000 * 6, AFTER_STOP_MS = 250, COMPONENT_ROOM = 1024 };

struct intent {
	bool wait, stop;
	const char *action, *category, *package;
	char component[COMPONENT_ROOM]; /* "PACKAGE/.Class"; "" without -n */
	char class_name[COMPONENT_ROOM]; /* "package.Class" */
};

static void set_component(struct intent *intent, const char *component)
{
	const char *slash = strchr(component, '/'), *class_name = slash + 1, *within = intent->class_name;
	int length = (int)(slash - component);
	bool is_short = *class_name == '.';

	snprintf(intent->class_name, COMPONENT_ROOM, "%.*s%s", is_short ? length : 0, component, class_name);
	if (!strncmp(within, component, (size_t)length) && within[length] == '.')
		within += length;
	snprintf(intent->component, COMPONENT_ROOM, "%.*s/%s", length, component, within);
}

static struct text intent_text(const struct intent *intent)
{
	struct text text = { 0 };

	text_add(&text, "Intent {");
	if (intent->action)
		text_add(&text, " act=%s", intent->action);
	if (intent->category)
		text_add(&text, " cat=[%s]", intent->category);
	if (intent->package)
		text_add(&text, " pkg=%s", intent->package);
	if (*intent->component)
		text_add(&text, " cmp=%s", intent->component);
	text_add(&text, " }");
	return text;
}

static bool takes_value(const char *option)
{
	static const char *const options[] = { "-a", "-c", "-n", "-p", "-f", "--user", "--display", "--windowingMode" };

	for (size_t i = 0; i < COUNT(options); i++)
		if (same(option, options[i]))
			return true;
	return false;
}

/* False when the value was refused, and answered. */
static bool set_option(struct call *call, struct intent *intent, const char *option, const char *value)
{
	if (same(option, "-a"))
		intent->action = value;
	else if (same(option, "-c"))
		intent->category = value;
	else if (same(option, "-p"))
		intent->package = value;
	if (!same(option, "-n"))
		return true;
	if (!strchr(value, '/')) {
		answer_exception(call, "Bad component name: ", value);
		return false;
	}
	set_component(intent, value);
	return true;
}

/* False when it was refused, and answered. */
static bool parse_intent(struct call *call, struct intent *intent)
{
	for (const char *word, *value; (word = next_word(call));) {
		if (same(word, "-W")) {
			intent->wait = true;
		} else if (same(word, "-S")) {
			intent->stop = true;
		} else if (word[0] != '-') {
			intent->package = word;
		} else if (!takes_value(word)) {
			answer_exception(call, "Unknown option: ", word);
			return false;
		} else if (!(value = next_word(call))) {
			answer_exception(call, "Argument expected after ", word);
			return false;
		} else if (!set_option(call, intent, word, value)) {
			return false;
		}
	}
	return true;
}

static struct app *app_of(struct intent *intent)
{
	for_each_app(app) {
		char component[2 * NAME_ROOM];
		bool meant;

		snprintf(component, sizeof(component), "%s/%s", app->package, app->activity);
		if (*intent->component)
			meant = same(component, intent->component);
		else
			meant = intent->package && same(app->package, intent->package);
		if (!meant || !app->launchable)
			continue;
		if (!*intent->component)
			set_component(intent, component);
		return app;
	}
	return NULL;
}

static bool is_home(const struct intent *intent)
{
	return intent->category && same(intent->category, "android.intent.category.HOME") && !*intent->component;
}

/* Without a total time where that is negative. */
static void report(struct call *call, const char *status, const char *state, const char *activity, long long total_ms)
{
	struct text text = { 0 };

	text_add(&text, "Status: %s\nLaunchState: %s\nActivity: %s", status, state, activity);
	if (total_ms >= 0)
		text_add(&text, "\nTotalTime: %lld", total_ms);
	say(call->out, "%s\nWaitTime: %lld\nComplete\n", text.is, (waited_us(call) + 999) / 1000);
	answer(call, 0);
}

static void report_app(struct call *call, const char *status, const char *state, long long total_ms)
{
	char activity[2 * NAME_ROOM];

	snprintf(activity, sizeof(activity), "%s/%s", call->app->package, call->app->activity);
	report(call, status, state, activity, total_ms);
}

/*
 * An app that died before it had drawn is reported as Android does it: with no TotalTime and an unknown state
 * (ActivityTaskSupervisor.stopWaitingForActivityVisible: INVALID_DELAY, LAUNCH_STATE_UNKNOWN).
 */
void finish_starts(const struct app *app, bool drawn)
{
	for_each_call(call) {
		if (!call->used || call->app != app)
			continue;
		if (drawn)
			report_app(call, "ok", call->state == COLD ? "COLD" : "HOT", (waited_us(call) + 999) / 1000);
		else
			report_app(call, "ok", "UNKNOWN (0)", -1);
	}
}

void give_up_late_starts(void)
{
	for_each_call(call)
		if (call->used && call->app && waited_us(call) / 1000 >= LAUNCH_TIMEOUT_MS)
			report_app(call, "timeout", "UNKNOWN (-1)", -1);
}

void stop_package(struct app *app, enum exit_reason reason, const char *why)
{
	if (!app->pid)
		return;
	kill_app(app, reason, why);
	finish_starts(app, false);
}

void force_stop(const struct call *call, struct app *app)
{
	char why[PATH_ROOM];

	snprintf(why, sizeof(why), "stop %s due to from pid %d", app->package, (int)pid_of(call));
	stop_package(app, EXIT_USER_REQUESTED, why);
}

static void warn(int fd, const char *warning)
{
	say(fd, "Warning: Activity not started, %s\n", warning);
}

static void go_home(struct call *call, bool wait)
{
	bring_to_front(NULL);
	if (wait)
		report(call, "ok", "HOT", HOME_ACTIVITY, 0);
	else
		answer(call, 0);
}

static void refuse(struct call *call, int fd, const struct intent *intent)
{
	int length = (int)strcspn(intent->component, "/") + 1;

	if (*intent->component) {
		say(fd, "Error type 3\n");
		answer_line(call, fd, 1, "Error: Activity class {%.*s%s} does not exist.", length, intent->component,
			    intent->class_name);
	} else {
		answer_line(call, fd, 1, "Error: Activity not started, unable to resolve %s", intent_text(intent).is);
	}
}

/* False when it could not be, and that was answered. */
static bool bring_up(struct call *call, struct app *app, int fd)
{
	static const char resume = RESUME;

	call->state = app->pid ? HOT : COLD;
	if (app->pid) {
		warn(fd, "its current task has been brought to the front");
		bring_to_front(app);
		app->to_draw++;
		/* An app that is dead says so by the end of its socket. */
		write(app->socket, &resume, 1);
		return true;
	}
	if (start_process(app))
		return true;
	answer_line(call, fd, 1, "Error: Activity not started, unknown error code -96");
	return false;
}

static void start_app(struct call *call, struct app *app, const struct intent *intent, int fd)
{
	if (app->pid && app == front) {
		warn(fd, "intent has been delivered to currently running top-most instance.");
		if (intent->wait)
			report(call, "ok", "UNKNOWN (0)", intent->component, 0);
		else
			answer(call, 0);
	} else if (bring_up(call, app, fd)) {
		if (intent->wait)
			call->app = app;
		else
			answer(call, 0);
	}
}

void start_activity(struct call *call)
{
	struct intent intent = { 0 };
	struct app *app;
	int fd;

	if (!parse_intent(call, &intent))
		return;
	app = is_home(&intent) ? NULL : app_of(&intent);
	if (intent.stop && app) {
		say(call->out, "Stopping: %s\n", app->package);
		force_stop(call, app);
		sleep_ms(AFTER_STOP_MS);
	}
	say(call->out, "Starting: %s\n", intent_text(&intent).is);
	/* With -W Android's am warns and complains on stdout. */
	fd = intent.wait ? call->out : call->err;
	begin_waiting(call);
	if (is_home(&intent))
		go_home(call, intent.wait);
	else if (app)
		start_app(call, app, &intent, fd);
	else
		refuse(call, fd, &intent);
}
