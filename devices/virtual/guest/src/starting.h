/* SPDX-License-Identifier: Apache-2.0 */
/*
 * am start: the intent out of its options, the app that it means, and the report once the app has drawn or died. Words
 * and order are those of ActivityManagerShellCommand.runStartActivity.
 */
#ifndef GUEST_STARTING_H
#define GUEST_STARTING_H

#include "calls.h"

void start_activity(struct call *call);
/* Tells all who wait for the app. */
void finish_starts(const struct app *app, bool drawn);
void give_up_late_starts(void);
/* Ends an app that runs, and the starts that wait for it. */
void stop_package(struct app *app, enum exit_reason reason, const char *why);
void force_stop(const struct call *call, struct app *app);

#endif
