/* SPDX-License-Identifier: Apache-2.0 */
/* The commands of am. */
#ifndef GUEST_COMMANDS_H
#define GUEST_COMMANDS_H

#include "calls.h"

/* Does what a call asks for, and answers it, now or once an app has drawn. */
void serve(struct call *call);

#endif
