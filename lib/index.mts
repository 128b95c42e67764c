/** The entry for `import`. Node.js can not require a module that is being imported, so Nest 12, which is ESM, comes first. */
// oxlint-disable import/no-unassigned-import -- it is only to be loaded
import '@nestjs/common';
import '@nestjs/core';

export * from './index.js';
