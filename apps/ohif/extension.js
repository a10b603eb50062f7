// SPDX-License-Identifier: Apache-2.0
// OHIF loads this module at run time and registers what it exports: one panel beside the images.
import { signIn } from "./sign_in.js";
import { EnhancePanel } from "./panel.js";
import { authorization } from "../web/src/server.js";

/** The one place that knows React: an element as React 18 makes it, whose ref mounts plain DOM. */
function mounting(services) {
  const mount = (place) => {
    if (place && !place.firstChild) place.append(new EnhancePanel(services));
  };
  return () => ({
    $$typeof: Symbol.for("react.element"),
    type: "div",
    key: null,
    ref: mount,
    props: { style: { height: "100%", overflow: "auto" } },
    _owner: null,
  });
}

export default {
  id: "clarivox",
  version: "1.0.0",

  async preRegistration({ servicesManager }) {
    await signIn();
    servicesManager.services.userAuthenticationService.setServiceImplementation({ getAuthorizationHeader: authorization });
  },

  getPanelModule(services) {
    const component = mounting(services);
    return [{ name: "enhance", iconName: "tab-segmentation", iconLabel: "Enhance", label: "Enhance", component }];
  },
};
