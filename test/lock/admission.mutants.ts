import { mutantsOf } from '../mutants/mutant.js';

export const mutants = mutantsOf(
  'A16',
  {
    'a lock acquired that can not be renewed beside the others': {
      'Admission#hasRoomFor': () => () => true,
    },
    'the renewals of a held lock not counted': {
      'Admission#newPermit': (original) =>
        function (...given) {
          const permit = original.apply(this, given);
          return { used: () => permit.end(), end: () => undefined };
        },
    },
    'a permit kept by a call that waits for a holder': {
      'CallAdmission#end': () => () => undefined,
    },
    'a permit kept for a lock that is lost or released': {
      'LeaseHolder#stop': (original) =>
        function () {
          const { permit } = this;
          this.permit = { used: () => undefined, end: () => undefined };
          original.call(this);
          this.permit = permit;
        },
    },
    'a grant used by a process that can not renew it': {
      'CallAdmission#admitHeld': (original) =>
        function () {
          return original.call(this, true);
        },
    },
    'a refusal instead of a wait': {
      'Admission#refuse': (original) =>
        function (call) {
          original.call(this, Object.assign(call, { waits: () => false }));
        },
    },
  },
  'spec',
);
