/* SPDX-License-Identifier: Apache-2.0 */
/* How an app's process comes to be: forked from system_server, put into its cgroup, given its apk, uid and name. */
#ifndef GUEST_ZYGOTE_H
#define GUEST_ZYGOTE_H

#include "processes.h"

/* A running process that will say DRAWN, in front; false when there is no room for one. */
bool start_process(struct app *app);

#endif
