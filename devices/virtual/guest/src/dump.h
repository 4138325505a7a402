/* SPDX-License-Identifier: Apache-2.0 */
/* dumpsys activity exit-info|oom|activities and the focus line of dumpsys window, in Android's formats. */
#ifndef GUEST_DUMP_H
#define GUEST_DUMP_H

#include "calls.h"

void dump(struct call *call);

#endif
