/** The entry for `import`: as that of the package, for what this one needs of Nest. */
// oxlint-disable import/no-unassigned-import -- it is only to be loaded
import '@nestjs/common';
import '@nestjs/core';

export * from './index.js';
