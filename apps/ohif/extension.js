// SPDX-License-Identifier: Apache-2.0
// OHIF loads this module at run time and registers what it exports: one panel beside the images, and a label over each.
import { labels, listed } from "./labels.js";
import { signIn } from "./sign_in.js";
import { EnhancePanel } from "./panel.js";
import { authorization } from "../web/src/server.js";

/** The one place that knows React: an element as React 18 makes it. */
const element = (type, props, ref = null) => ({ $$typeof: Symbol.for("react.element"), type, key: null, ref, props, _owner: null });

/** A component whose ref mounts plain DOM. */
function mounting(services) {
  const mount = (place) => {
    if (place && !place.firstChild) place.append(new EnhancePanel(services));
  };
  return () => element("div", { style: { height: "100%", overflow: "auto" } }, mount);
}

export default {
  id: "clarivox",
  version: "1.0.0",

  async preRegistration({ servicesManager }) {
    await signIn();
    servicesManager.services.userAuthenticationService.setServiceImplementation({ getAuthorizationHeader: authorization });
  },

  onModeEnter({ servicesManager }) {
    listed(servicesManager.services);
  },

  /** app-config.js adds it to what OHIF shows in that corner. */
  getCustomizationModule({ servicesManager }) {
    const item = labels(servicesManager.services, element);
    return [{ name: "labels", value: { "viewportOverlay.topLeft": { $splice: [[0, 0, item]] } } }];
  },

  getPanelModule(services) {
    const component = mounting(services);
    return [{ name: "enhance", iconName: "tab-segmentation", iconLabel: "Enhance", label: "Enhance", component }];
  },
};
